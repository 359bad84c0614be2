#!/usr/bin/env bash
# Start, stop and look after an embedder node in the background: see `start_server.sh help`.
set -euo pipefail

# Where the node keeps its state unless M3_HOME says so.
data_home() {
  local base="$HOME/.local/share"
  [[ "$OSTYPE" != darwin* ]] || base="$HOME/Library/Application Support"
  echo "${XDG_DATA_HOME:-$base}/m3-retrieval"
}

PORT="${PORT:-7860}"
HOST="${HOST:-127.0.0.1}"
MODEL="${MODEL:-${M3_MODEL:-}}"
PRECISION="${PRECISION:-}"
LOG_DIR="${LOG_DIR:-${M3_HOME:-$(data_home)}/logs}"
START_TIMEOUT="${START_TIMEOUT:-600}"
STOP_TIMEOUT="${STOP_TIMEOUT:-120}"
SERVE_OPTIONS=()

usage() {
  cat <<'TEXT'
usage: start_server.sh [start|stop|restart|status|trouble|help] [options] [-- options of m3-embedder serve]

  option            variable        default
  --port N          PORT            7860; 0 takes a free one
  --host ADDRESS    HOST            127.0.0.1; another needs M3_API_KEYS_FILE, or -- --insecure
  --model ID|DIR    MODEL           M3_MODEL, else BAAI/bge-m3
  --precision P     PRECISION       M3_PRECISION, else auto
  --log-dir DIR     LOG_DIR         the state directory's logs/
  --timeout S       START_TIMEOUT   600 seconds until it must be ready
                    STOP_TIMEOUT    120 seconds for requests under way before it is killed
                    M3_EMBEDDER     the command, where it is neither in .venv nor on the PATH

The log rotates at M3_LOG_FILE_BYTES and keeps M3_LOG_FILE_BACKUPS files; docs/settings.md has the
other settings. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 (status) not running, 4 (status) not ready.
TEXT
}

trouble() {
  cat <<TEXT
Where to look:
  what it says   tail -f $LOG; what a crash leaves: $OUT
  CUDA           "no GPU found" in the log: nvidia-smi must list the card, and CUDA_VISIBLE_DEVICES not hide it;
                 python -c 'import torch; print(torch.version.cuda, torch.cuda.is_available())' must say True:
                 None means a CPU build of torch, False a driver older than that CUDA
  time-outs      the first start fetches the model (HF_HOME is where, HF_HUB_OFFLINE=1 forbids it): allow more
                 with --timeout; requests: raise M3_EMBEDDER_TIMEOUT at the client and proxy_read_timeout at a
                 proxy, or send fewer texts at once; 429 means full: come back after Retry-After
  memory         killed without a word: dmesg | grep -i oom; lower M3_MAX_BATCH_TOKENS (4096), or
                 M3_MAX_QUEUE_TOKENS, or take --precision bf16; on a GPU see who else holds its memory: nvidia-smi
TEXT
}

fail() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-1}"
}

parse() {
  while (($#)); do
    if [[ "$1" == -- ]]; then
      shift
      SERVE_OPTIONS=("$@")
      return
    fi
    [[ "$1" =~ ^--(port|host|model|precision|log-dir|timeout)$ ]] \
      || fail "unknown option $1: see start_server.sh help" 2
    (($# > 1)) || fail "$1 needs a value" 2
    case "$1" in
      --port) PORT="$2" ;;
      --host) HOST="$2" ;;
      --model) MODEL="$2" ;;
      --precision) PRECISION="$2" ;;
      --log-dir) LOG_DIR="$2" ;;
      --timeout) START_TIMEOUT="$2" ;;
    esac
    shift 2
  done
}

# The command: told, beside this checkout, or on the PATH.
embedder() {
  local beside
  beside="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin/m3-embedder"
  if [[ -n "${M3_EMBEDDER:-}" ]]; then
    echo "$M3_EMBEDDER"
  elif [[ -x "$beside" ]]; then
    echo "$beside"
  else
    command -v m3-embedder || fail "no m3-embedder: install m3-retrieval[embedder], or set M3_EMBEDDER" 2
  fi
}

# The pid of the node that runs, if one does: a pid file may outlive its process, and a pid be given again.
running() {
  local pid words
  pid="$(cat "$PID_FILE" 2>/dev/null)" || return 1
  [[ "$pid" =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null || return 1
  if [[ -r "/proc/$pid/cmdline" ]]; then
    words="$(tr '\0' ' ' <"/proc/$pid/cmdline")"
  else
    words="$(ps -ww -p "$pid" -o args=)"
  fi
  [[ "$words" == *serve* && "$words" == *"${SERVED_BY##*/}"* ]] && echo "$pid"
}

address() {
  sed -n 's/^m3-embedder at \(http[^ ]*\) .*/\1/p' "$OUT" 2>/dev/null | head -n 1
}

# Whether a probe of the node answers 200.
probe() {
  local url
  url="$(address)"
  [[ -n "$url" ]] && curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "$url/$1"
}

show() {
  printf '%s\n  address  %s\n  pid      %s\n  log      %s\n' "$1" "$(address)" "$2" "$LOG"
}

# The last lines of what it wrote, and what to make of them.
explain() {
  local file
  for file in "$OUT" "$LOG"; do
    if [[ -s "$file" ]]; then
      printf -- '--- %s\n' "$file"
      tail -n 20 "$file"
    fi
  done
  trouble
}

start() {
  command -v curl >/dev/null || fail "curl is missing: install it" 2
  # One start at a time looks for a node, and writes what says that there is one.
  mkdir "$LOCK" 2>/dev/null \
    || fail "another start is under way: see start_server.sh status; if none is, rmdir $LOCK"
  trap 'rmdir "$LOCK"' EXIT
  launch
  rmdir "$LOCK"
  trap - EXIT
  await "$(cat "$PID_FILE")"
}

launch() {
  local pid options
  if pid="$(running)"; then
    fail "a node runs already under pid $pid at $(address): stop it, or choose another --port"
  fi
  [[ ! -e "$OUT" ]] || mv -f "$OUT" "$OUT.1"
  options=(--host "$HOST" --port "$PORT")
  [[ -z "$MODEL" ]] || options+=(--model "$MODEL")
  [[ -z "$PRECISION" ]] || options+=(--precision "$PRECISION")
  # In a process group of its own, so that an interrupt here does not reach it.
  set -m
  M3_LOG_FILE="$LOG" nohup "$SERVED_BY" serve "${options[@]}" ${SERVE_OPTIONS[@]+"${SERVE_OPTIONS[@]}"} \
    >"$OUT" 2>&1 </dev/null &
  echo "$!" >"$PID_FILE"
  set +m
}

await() {
  local pid="$1" deadline=$((SECONDS + START_TIMEOUT)) reached=""
  while ((SECONDS < deadline)); do
    if ! kill -0 "$pid" 2>/dev/null; then
      explain >&2
      fail "the node ended before it was ready"
    fi
    if [[ -z "$reached" ]] && probe livez; then
      reached=yes
      echo "the node answers at $(address) and loads its model"
    fi
    if [[ -n "$reached" ]] && probe readyz; then
      show "the node is ready" "$pid"
      echo "  trouble  $0 trouble"
      return
    fi
    sleep 0.2
  done
  explain >&2
  fail "not ready within $START_TIMEOUT s; it goes on under pid $pid: see status, or stop it"
}

# Whether the node ends within so many seconds.
ends() {
  local deadline=$((SECONDS + $1))
  while running >/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# End the node; 1 where it had to be killed.
stop() {
  local pid
  if ! pid="$(running)"; then
    echo "no node runs for port $PORT"
    return
  fi
  kill -TERM "$pid"
  if ends "$STOP_TIMEOUT"; then
    echo "the node under pid $pid has ended"
    return
  fi
  kill -KILL "$pid"
  ends 10 || fail "the node under pid $pid cannot be killed"
  printf 'error: the node did not end within %s s and was killed\n' "$STOP_TIMEOUT" >&2
  return 1
}

status() {
  local pid
  if ! pid="$(running)"; then
    echo "no node runs for port $PORT"
    exit 3
  fi
  if probe readyz; then
    show "the node is ready" "$pid"
  else
    show "the node is not ready: it loads, drains or hangs" "$pid"
    exit 4
  fi
}

VERB=start
if (($#)) && [[ "$1" != -* ]]; then
  VERB="$1"
  shift
fi
case "$VERB" in
  start | stop | restart | status | trouble) ;;
  help)
    usage
    exit 0
    ;;
  *) fail "unknown word $VERB: see start_server.sh help" 2 ;;
esac
if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  usage
  exit 0
fi
parse "$@"
[[ "$PORT" =~ ^[0-9]+$ ]] || fail "--port $PORT is no number" 2
[[ "$START_TIMEOUT" =~ ^[0-9]+$ ]] || fail "--timeout $START_TIMEOUT is no number of seconds" 2
mkdir -p "$LOG_DIR" || fail "LOG_DIR: $LOG_DIR cannot be made" 2
LOG_DIR="$(cd "$LOG_DIR" && pwd)"
LOG="$LOG_DIR/m3-embedder-$PORT.log"
OUT="$LOG_DIR/m3-embedder-$PORT.out"
PID_FILE="$LOG_DIR/m3-embedder-$PORT.pid"
LOCK="$LOG_DIR/m3-embedder-$PORT.starting"
SERVED_BY="$(embedder)"

case "$VERB" in
  restart)
    stop || true
    start
    ;;
  *) "$VERB" ;;
esac
