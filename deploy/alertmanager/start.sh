#!/bin/sh
# Starts Alertmanager with the receivers that are switched on: of Slack, Teams and PagerDuty those whose secret is there.
# A message to one without a secret would fail, and the alert on failing notifications would fire for it.
set -eu
folder=${ALERTMANAGER_FOLDER:-/etc/alertmanager}
config=${ALERTMANAGER_CONFIG:-/tmp/alertmanager.yml}
off=
for name in slack_url teams_url pagerduty_key; do
    [ -s "$folder/secrets/$name" ] || off="$off $name"
done
# holds back each list of one integration until its end, and leaves it out if it names a secret that is missing
awk -v off="$off" '
    function give() { if (block != "" && !missing) printf "%s", block; block = ""; missing = 0 }
    BEGIN { count = split(off, names, " ") }
    /^ ? ? ? ?[^ ]/ { give(); inside = /^    [a-z0-9]+_configs:/ }
    !inside { print; next }
    { block = block $0 "\n"; for (i = 1; i <= count; i++) if (index($0, "/" names[i])) missing = 1 }
    END { give() }
' "$folder/alertmanager.yml" >"$config"
exec alertmanager --config.file="$config" "$@"
