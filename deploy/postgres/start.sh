#!/bin/sh
# Starts PostgreSQL. Where a database exists, it first gets the roles and passwords of now, while nobody else reaches it;
# a new one gets them from the image's entrypoint.
set -eu
if [ -s "$PGDATA/PG_VERSION" ]; then
    pg_ctl --silent --pgdata "$PGDATA" --wait --timeout 3600 \
        --options "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host /tmp --username "$POSTGRES_USER" --dbname postgres \
        --file /etc/vigie/roles.sql
    pg_ctl --silent --pgdata "$PGDATA" --wait --mode fast stop
fi
exec docker-entrypoint.sh postgres
