# shellcheck shell=bash
# What `servers/start`, `servers/stop`, `demo` and `test` share. To be sourced.

# shellcheck disable=SC2034 # used by servers/start
cache=${XDG_CACHE_HOME:-$HOME/.cache}/zoom-harvester/servers

# Elasticsearch refuses to run as root, and nothing here needs to. 65534 is the kernel's own nobody.
nobody=65534
as_nobody=(env)
if [ "$(id -u)" = 0 ]; then
    as_nobody=(env setpriv --reuid "$nobody" --regid "$nobody" --clear-groups)
fi

say() {
    echo "$(basename "$0"): $*" >&2
}

fail() {
    say "$*"
    exit 1
}

# java_home VERSION: the home of the first JVM of at least that version. Each is asked itself, since a path may be a link or a
# wrapper, and it is asked as the one who will run it.
java_home() {
    local java facts version
    for java in "${JAVA_HOME:-}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        facts=$("${as_nobody[@]}" "$java" -XshowSettings:properties -version 2>&1) || continue
        # "1.8" is version 8.
        version=$(sed -n 's/^ *java\.specification\.version = \(1\.\)\{0,1\}\([0-9]*\).*/\2/p' <<<"$facts")
        if [ "${version:-0}" -ge "$1" ]; then
            sed -n 's/^ *java\.home = //p' <<<"$facts"
            return
        fi
    done
    return 1
}

# port_of FOLDER: where its server answers HTTP.
port_of() {
    sed -n '1s/.*://p' "$1/logs/http.ports"
}

# end_group PID: ends the process group of PID and waits until it is gone. At once: what a server here holds is thrown away.
end_group() {
    local _
    kill -KILL -- "-$1" 2>/dev/null || return 0
    for _ in {1..100}; do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
    done
}

# cargo_or_fail: cargo is what no script should install.
cargo_or_fail() {
    command -v cargo >/dev/null || fail "cargo is missing; https://rustup.rs says how to install Rust"
}

# java_and_maven: both are there, if need be by installing them.
java_and_maven() {
    local missing=() version
    java_home 17 >/dev/null || missing+=("Java 17 or later")
    command -v mvn >/dev/null || missing+=("Maven")
    if [ ${#missing[@]} = 0 ]; then return; fi
    # A release of Debian has one or the other; with 21 there is OpenSearch 3 to test against.
    for version in 21 17; do
        if installed "$(listed "${missing[@]}")" "openjdk-$version-jre-headless" maven; then return; fi
    done
    say "$(listed "${missing[@]}") missing (on Debian: apt-get install openjdk-17-jre-headless maven)"
    return 1
}

# shifted_clock: faketime is there, for the tests of a wrong clock, if need be by installing it.
shifted_clock() {
    if command -v faketime >/dev/null || installed faketime faketime; then return; fi
    say "faketime is missing (on Debian: apt-get install faketime; on macOS: brew install libfaketime)"
    return 1
}

# browser: a headless Chromium is there, for the tests of the report, if need be by installing it.
browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    if installed Chromium chromium; then return; fi
    say "Chromium is missing (on Debian: apt-get install chromium)"
    return 1
}

# tables: DuckDB and pandas are there, which the tests read exported files with; the folder for PYTHONPATH is in $python_packages.
tables() {
    local wanted=(duckdb==1.4.2 pandas==2.3.3 pyarrow==21.0.0)
    python_packages=$cache/python-$(tr -c 'a-z0-9.\n' - <<<"${wanted[*]}")
    if [ -d "$python_packages" ]; then return; fi
    if ! python3 -m pip --version >/dev/null 2>&1 && ! installed "Python's pip" python3 python3-pip; then
        say "Python's pip is missing (on Debian: apt-get install python3-pip)"
        return 1
    fi
    say "fetching DuckDB and pandas"
    local unfinished
    mkdir -p "$cache"
    unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
    if ! python3 -m pip install --quiet --disable-pip-version-check --target "$unfinished" "${wanted[@]}" >&2; then
        rm -rf "$unfinished"
        say "pip could not fetch ${wanted[*]}; what it said stands above"
        return 1
    fi
    # Somebody else may have been quicker.
    mv -T "$unfinished" "$python_packages" 2>/dev/null || rm -rf "$unfinished"
}

# installed NAME PACKAGE...: installs packages, which is tried as root on Debian and its kin only.
installed() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
    say "installing $1"
    apt-get update -q >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${@:2}" </dev/null >&2
}

# listed A [B]: "A" or "A and B".
listed() {
    echo "$1${2:+ and $2}"
}

# The servers that begin has begun: their folders, and the processes that start them.
folders=()
starters=()

# begin ENGINE [argument of servers/start ...]: starts it in the background, beside a build say, in a new folder, named in $folder.
# In a process group of its own (set -m), so that Ctrl-C reaches this script only, which then ends the download as well.
begin() {
    folder=$(mktemp -d "${TMPDIR:-/tmp}/zoom-harvester-$1.XXXXXX")
    folders+=("$folder")
    set -m
    servers/start "$1" "$folder" "${@:2}" </dev/null >/dev/null &
    set +m
    starters+=("$!")
}

# begun: all servers that were begun are up; their URLs are in the file `url` of their folders.
begun() {
    local starter
    for starter in ${starters[@]+"${starters[@]}"}; do
        wait "$starter" || return
    done
}

# end_servers: ends all that begin has begun, be it still starting.
end_servers() {
    local starter folder
    for starter in ${starters[@]+"${starters[@]}"}; do
        if jobs -pr | grep -qx "$starter"; then
            kill -INT -- "-$starter" 2>/dev/null || true
            wait "$starter" 2>/dev/null || true
        fi
    done
    for folder in ${folders[@]+"${folders[@]}"}; do
        servers/stop "$folder" || true
    done
}
