#!/bin/sh
# Writes the user list of the Caddyfile: one user, and the hash of the password in the secret. The front waits for it,
# so if this fails nothing is exposed.
# The password has 192 random bits: a slower hash would only let wrong guesses cost this machine more.
set -eu
umask 077
if [ "${VIGIE_FRONT:-}" != only ]; then
    echo 'the profile public needs docker-compose.public.yml too: in .env, set' >&2
    echo 'COMPOSE_FILE=docker-compose.yml:docker-compose.public.yml' >&2
    exit 1
fi
if [ -z "${VIGIE_SITE:-}" ]; then
    echo 'set VIGIE_SITE in .env: the name by which others reach this machine, or localhost' >&2
    exit 1
fi
hash=$(printf '%s\n' "$(cat /run/secrets/page_password)" | caddy hash-password --bcrypt-cost 10)
printf 'vigie %s\n' "$hash" >/users/new
mv /users/new /users/list
