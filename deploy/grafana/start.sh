#!/bin/sh
# Starts Grafana with the administrator's password of the secret. Grafana itself reads it at its first start only.
set -eu
if [ -s "$GF_PATHS_DATA/grafana.db" ]; then
    grafana cli --homepath "$GF_PATHS_HOME" --config "$GF_PATHS_CONFIG" \
        --configOverrides "cfg:default.paths.data=$GF_PATHS_DATA" \
        admin reset-admin-password --password-from-stdin <"$GF_SECURITY_ADMIN_PASSWORD__FILE" >/dev/null
fi
exec /run.sh
