import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on the loopback interface: its folder, and its HTTP port. Runs until it is killed. */
public class OpenSearchNode {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("network.host", "127.0.0.1");
            settings.put("discovery.type", "single-node");
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
        });
        // Else it would look for another port if this one is taken.
        runner.setMaxHttpPort(-1);
        // The runner adds the node's number, 1, to the base port.
        runner.build(OpenSearchRunner.newConfigs().basePath(args[0]).clusterName("zoom-harvester").numOfNode(1)
                .baseHttpPort(port - 1));
        Thread.currentThread().join();
    }
}
