# shellcheck shell=bash
# A whole appliance in one directory, for the demo and the flow tests: source this, then
#   appliance_new DIR; upstream_start; appliance_start; fleet_start N; ...
# Everything started here is ended on exit, by pid. KEYLINE_BIN: where the built programs lie.
set -euo pipefail
: "${KEYLINE_BIN:?set KEYLINE_BIN to the directory of the built programs}"
export PATH=$KEYLINE_BIN:$PATH
lib_dir=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

run_pid='' upstream_pid='' fleet_pid=''
die() { printf '%s\n' "$*" >&2; exit 1; }

# wait_until SECONDS WHAT COMMAND...: polls the command; on a time-out says what did not happen.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$deadline" ] || die "gave up waiting: $what"
        sleep 0.1
    done
}

# end_process PID: TERM, then KILL after 10 s; waits until it is gone.
end_process() {
    local pid=$1 i
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null || { wait "$pid" 2>/dev/null || true; return 0; }
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

cleanup() {
    local status=$?
    trap - EXIT
    end_process "$fleet_pid"
    end_process "$run_pid"
    end_process "$upstream_pid"
    if [ $status -gt 128 ]; then # somebody stopped it: nothing to be explained
        printf '\nStopped.%s\n' "${KEYLINE_ROOT:+ What was there is in $KEYLINE_ROOT}" >&2
    elif [ $status -ne 0 ] && [ -f "${KEYLINE_ROOT:-}/run.log" ]; then
        echo "--- the end of run.log:" >&2
        tail -n 40 "$KEYLINE_ROOT/run.log" >&2
    fi
    [ -z "${test_dir:-}" ] || rm -rf "$test_dir"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# appliance_new DIR [CEREMONY ARGUMENTS...]: token, CA, approver, an empty configuration.
appliance_new() {
    export KEYLINE_ROOT=$1
    shift
    mkdir -p "$KEYLINE_ROOT"
    chmod 755 "$KEYLINE_ROOT"
    # What a person would type at the prompt; it lies beside the demo so that a second approval can be tried.
    (umask 077 && openssl rand -hex 16 >"$KEYLINE_ROOT/approver.passphrase")
    keyline init --approver-passphrase-file "$KEYLINE_ROOT/approver.passphrase" "$@"
}

# approve JOB [OPTIONS...]
approve() {
    keyline job approve "$1" --yes --passphrase-file "$KEYLINE_ROOT/approver.passphrase" "${@:2}"
}

# appliance_start [SLOTS]: keyline run in the background, its log in run.log; waits until it answers.
appliance_start() {
    local slots=${1:-16}
    mkdir -p "$KEYLINE_ROOT/ports"
    keyline run --slots "$slots" --ports "$KEYLINE_ROOT/ports" </dev/null >>"$KEYLINE_ROOT/run.log" 2>&1 &
    run_pid=$!
    keyline --wait 30 status >/dev/null || die "the appliance did not start"
}
appliance_stop() {
    end_process "$run_pid"
    run_pid=''
}

# ours NAME: our own appliance's processes of that name, those next to keyline run first; never anybody else's.
ours() {
    local pids=$run_pid pid
    while [ -n "$pids" ]; do
        pids=$(pgrep -P "${pids// /,}" | tr '\n' ' ' | sed 's/ $//') || true
        for pid in $pids; do
            [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || echo "$pid"
        done
    done
}

# upstream_start [PORT]: an unmodified apache2 with mod_dav over TLS on loopback; sets upstream_url. The store is
# $KEYLINE_ROOT/upstream/store. With a port it comes back where it was.
upstream_start() {
    local dir=$KEYLINE_ROOT/upstream modules=/usr/lib/apache2/modules user=() attempt outside
    mkdir -p "$dir"
    [ -e "$dir/store" ] || mkdir "$dir/store"
    [ -f "$dir/server.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout "$dir/server.key" -out "$dir/server.pem" 2>/dev/null
    if [ "$(id -u)" -eq 0 ]; then
        # apache2 gives root up, and www-data may be unable to reach a directory below /root.
        user=("User www-data" "Group www-data")
        chown www-data: "$dir" "$dir/store"
        if ! runuser -u www-data -- test -w "$dir/store"; then
            outside=$(mktemp -d /tmp/keyline-upstream.XXXXXX)
            rmdir "$dir/store"
            mkdir "$outside/store"
            ln -s "$outside/store" "$dir/store"
            chown www-data: "$outside" "$outside/store"
        fi
    fi
    for attempt in 1 2 3 4 5 6 7 8; do
        upstream_port=${1:-$((20000 + (RANDOM * attempt + $$) % 20000))}
        cat >"$dir/apache.conf" <<CONF
ServerRoot $dir
ServerName 127.0.0.1
Listen 127.0.0.1:$upstream_port
PidFile $dir/apache.pid
ErrorLog $dir/error.log
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule ssl_module $modules/mod_ssl.so
LoadModule dav_module $modules/mod_dav.so
LoadModule dav_fs_module $modules/mod_dav_fs.so
$(printf '%s\n' "${user[@]}")
StartServers 1
ServerLimit 2
ThreadsPerChild 8
MaxRequestWorkers 16
SSLEngine on
SSLCertificateFile $dir/server.pem
SSLCertificateKeyFile $dir/server.key
DocumentRoot $(readlink -f "$dir/store")
DavLockDB $(readlink -f "$dir/store").lock
LogFormat "%m %U %>s" brief
CustomLog $dir/access.log brief
<Directory $(readlink -f "$dir/store")>
    Dav On
    Require all granted
</Directory>
CONF
        apache2 -f "$dir/apache.conf" -DFOREGROUND </dev/null >"$dir/apache.out" 2>&1 &
        upstream_pid=$!
        local i
        for ((i = 0; i < 50; i++)); do
            kill -0 "$upstream_pid" 2>/dev/null || break
            if (exec 3<>"/dev/tcp/127.0.0.1/$upstream_port") 2>/dev/null; then
                # Somebody else may listen there: ours has written its pid.
                [ -s "$dir/apache.pid" ] && break 2
            fi
            sleep 0.1
        done
        end_process "$upstream_pid"
        upstream_pid=''
    done
    [ -n "$upstream_pid" ] || { cat "$dir/apache.out" "$dir/error.log" >&2; die "apache2 did not start"; }
    upstream_url=https://127.0.0.1:$upstream_port
}
upstream_stop() {
    end_process "$upstream_pid"
    upstream_pid=''
}

# configure SECTION KEY=VALUE...: sets a section of keyline.conf
configure() {
    local section=$1
    shift
    printf '[%s]\n' "$section" >>"$KEYLINE_ROOT/etc/keyline.conf"
    printf '%s\n' "$@" >>"$KEYLINE_ROOT/etc/keyline.conf"
}

# fleet_start JOB SLOTS [keyline-sim fleet OPTIONS...]: every device of the job, plugged in one after the other.
fleet_start() {
    local job=$1 slots=$2
    shift 2
    keyline device list --job "$job" --columns hwid,name >"$KEYLINE_ROOT/fleet.list"
    keyline-sim fleet --slots "$slots" --ports "$KEYLINE_ROOT/ports" --flash "$KEYLINE_ROOT/flash" \
        --list "$KEYLINE_ROOT/fleet.list" "$@" </dev/null >"$KEYLINE_ROOT/fleet.log" 2>&1 &
    fleet_pid=$!
}
fleet_wait() {
    local status=0
    wait "$fleet_pid" || status=$?
    fleet_pid=''
    return $status
}

job_field() { keyline job show "$1" --json | jq -r ".job.$2"; }
registered_at_least() { [ "$(job_field "$1" registered)" -ge "$2" ]; }
synced() { keyline sync status --json | jq -e '.waiting == 0 and .refused == 0 and .records > 0'; }
