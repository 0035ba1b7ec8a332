#!/bin/sh
# Makes the namespace and the search attributes that the workflows write; safe to run again.
set -eu
namespace=${TEMPORAL_NAMESPACE:-default}
tries=0
until temporal operator cluster health; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then exit 1; fi
    sleep 2
done
temporal operator namespace describe -n "$namespace" >/dev/null 2>&1 \
    || temporal operator namespace create -n "$namespace" --retention 30d
known=$(temporal operator search-attribute list -n "$namespace")
for pair in Merchant=Keyword Lifecycle=Keyword Stage=Keyword NeedsPerson=Bool AmountMinor=Int DueAt=Datetime; do
    name=${pair%=*}
    if ! printf '%s\n' "$known" | grep -qw "$name"; then
        temporal operator search-attribute create -n "$namespace" --name "$name" --type "${pair#*=}"
    fi
done
