# Sourced by ../demo and ../test: what a fresh machine may lack.

need_cargo() {
    command -v cargo >/dev/null && return
    echo "$(basename "$0"): cargo is missing; install Rust (https://rustup.rs)" >&2
    exit 1
}

# Java and Maven fetch and run the servers. On Debian, as root, they are installed; elsewhere this says no.
need_java_and_maven() {
    if command -v java >/dev/null && command -v mvn >/dev/null && command -v curl >/dev/null; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "$(basename "$0"): installing Java and Maven" >&2
        apt-get update -q >&2 && apt-get install -y -q --no-install-recommends openjdk-17-jre-headless maven curl unzip >&2
        return
    fi
    return 1
}
