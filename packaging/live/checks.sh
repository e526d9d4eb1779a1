#!/usr/bin/env bash
# What boot.sh runs in the booted system: installs as the guide says, then what an operator does and what goes wrong.
set -euo pipefail
cd /root/packaging

failures=0
check() { # WHAT, then a command that has to succeed
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then echo "ok    $what"; else
    echo "FAIL  $what"
    printf '%s\n' "$said" | sed 's/^/      /'
    failures=$((failures + 1))
  fi
}
is() { # ACTUAL EXPECTED
  [ "$1" = "$2" ] || { echo "expected '$2', got '$1'"; return 1; }
}
says() { # TEXT, then a command whose output has it, however it ends
  local text=$1 said
  shift
  said=$("$@" 2>&1) || true
  case $said in *"$text"*) ;; *) echo "'$text' is not in: $said"; return 1 ;; esac
}
as_daemon() { setpriv --reuid=binding-span --regid=binding-span --clear-groups "$@"; }
# In bash `caller` alone is a builtin.
caller=/usr/local/bin/caller
call() {
  as_daemon $caller call --no-tree --connect unix:/run/binding-span/caller.sock \
    DB.query '{"queries":[{"sql":"select 41 + 1 as n"}]}'
}
answers() { says '[[42]]' call; }
property() { systemctl show "$1" --property="$2" --value; }
# Waits up to 60 s for a property of a unit.
becomes() { # UNIT PROPERTY VALUE
  for _ in $(seq 600); do
    [ "$(property "$1" "$2")" != "$3" ] || return 0
    sleep 0.1
  done
  is "$(property "$1" "$2")" "$3"
}
# Waits up to 10 s for a text in a unit's log.
logs() { # UNIT TEXT
  for _ in $(seq 100); do
    case $(log "$1") in *"$2"*) return 0 ;; esac
    sleep 0.1
  done
  says "$2" log "$1"
}
log() { journalctl --no-pager --output=cat --unit "$1"; }

cp systemd/sysusers.conf /usr/lib/sysusers.d/binding-span.conf && systemd-sysusers
cp systemd/binding-span-*.{service,socket} /etc/systemd/system/
install -D -m 0644 -t /etc/binding-span etc/*.toml
systemctl daemon-reload
systemctl enable --quiet --now \
  binding-span-callee.socket binding-span-callee binding-span-caller.socket binding-span-caller

serving=binding-span-callee passing=binding-span-caller
check "both are ready" systemctl is-active $serving $passing
check "the status says what is served" says "serving DB" property $serving StatusText
check "a call is answered" answers
check "root is told that it may not be admitted" says "may not admit us" \
  $caller call --connect unix:/run/binding-span/caller.sock DB.query '{}'
for daemon in callee caller; do
  check "$daemon is ready by its admin port" as_daemon \
    $caller health --connect "unix:/run/binding-span-$daemon/admin.sock"
done
check "the database is its owner's alone" is \
  "$(stat -c '%U %a' /var/lib/binding-span /var/lib/binding-span/shop.sqlite | tr '\n' ' ')" \
  "binding-span 700 binding-span 600 "
check "the tail is written" test -s /var/lib/binding-span-caller/tail.jsonl

sed -i 's/^deadline = "30s"/deadline = "20s"/' /etc/binding-span/caller.toml
check "a reload" systemctl reload $passing
check "  changes what can change" logs $passing "changed DB"
cp /etc/binding-span/caller.toml /root/good.toml
echo 'nonsense = 1' >> /etc/binding-span/caller.toml
check "a reload of a bad file fails" eval '! systemctl reload binding-span-caller'
check "  says where" logs $passing "caller.toml:25:1: bind.DB.nonsense"
check "  and serving goes on" answers
check "a start with a bad file fails" eval '! systemctl restart binding-span-caller'
check "  once, with the code for that" is \
  "$(property $passing ActiveState) $(property $passing ExecMainStatus) $(property $passing NRestarts)" "failed 78 0"
cp /root/good.toml /etc/binding-span/caller.toml
check "a start with a good file again" systemctl restart $passing

under_load() {
  local failed=0 restarts
  (
    for _ in 1 2 3; do
      systemctl restart binding-span-callee
      systemctl restart binding-span-caller
    done
    touch /root/restarted
  ) &
  restarts=$!
  local calls=0
  while [ ! -e /root/restarted ] || [ "$calls" -lt 50 ]; do
    answers || failed=$((failed + 1))
    calls=$((calls + 1))
  done
  wait $restarts
  echo "$calls calls, $failed failed"
  [ "$failed" = 0 ]
}
rm -f /root/restarted
check "calls during three restarts of each all succeed" under_load

before=$(property $serving NRestarts)
systemctl kill --signal=KILL $serving
check "a callee that was killed is started again" becomes $serving NRestarts $((before + 1))
check "  and a call waits for it at the socket" answers
check "  until it serves" becomes $serving ActiveState active
systemctl kill --signal=STOP $serving
check "the watchdog ends a callee that hangs" becomes $serving NRestarts $((before + 2))
check "  and it is started again" becomes $serving ActiveState active
check "  says so" logs $serving "Watchdog timeout"
check "  and it serves again" answers

check "stopping ends in order" systemctl stop $passing $serving $passing.socket $serving.socket
check "  both" is "$(property $serving Result) $(property $passing Result)" "success success"
check "  and leaves one file" is "$(ls /var/lib/binding-span)" shop.sqlite
echo "$failures failed"
[ "$failures" = 0 ]
