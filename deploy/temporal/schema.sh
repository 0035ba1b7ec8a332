#!/bin/sh
# Brings Temporal's two databases to the schema of this image; safe to run again.
set -eu
for name in temporal temporal_visibility; do
    folder=temporal
    if [ "$name" = temporal_visibility ]; then folder=visibility; fi
    set -- --plugin postgres12 --ep postgres -p 5432 -u temporal --db "$name"
    temporal-sql-tool "$@" setup-schema -v 0.0
    temporal-sql-tool "$@" update-schema -d "/etc/temporal/schema/postgresql/v12/$folder/versioned"
done
