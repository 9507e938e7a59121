#!/bin/sh
# An agent for the demonstration: real programs, real sockets. It does what agents do, a secret on
# the command line included, and goes on after each failure.
#
#   demo-agent.sh HTTP_PORT REFUSED_PORT EVIDENCE_FILE
#
# DEMO_TOKEN and DEMO_PASSWORD come by the environment, as an agent's keys do.
set -u

http=http://127.0.0.1:$1
refused=http://127.0.0.1:$2
evidence=$3
get="curl --silent --show-error --noproxy * --max-time 10"
set -f # the * above is for curl

attempt() {
    echo "agent: $1"
    shift
    "$@"
    echo "agent: exit status $?"
}

attempt "an API call with a bearer token" \
    $get -H "Authorization: Bearer $DEMO_TOKEN" "$http/v1/models"

attempt "an API call with a user and a password" \
    $get --user "agent:$DEMO_PASSWORD" "$http/v1/files?path=/etc/hosts"

attempt "a service that isn't running" \
    $get "$refused/"

attempt "a program that doesn't exist" \
    /opt/demo/no-such-tool --version

attempt "the cloud's metadata service" \
    $get http://169.254.169.254/latest/meta-data/

attempt "destroying evidence" \
    shred "$evidence"

if [ -x /usr/bin/python3 ]; then
    attempt "an API call from a script" /usr/bin/python3 -c '
import os, sys, urllib.request
request = urllib.request.Request(
    sys.argv[1], headers={"Authorization": "Bearer " + os.environ["DEMO_TOKEN"]})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(request, timeout=10).read().decode(), end="")
' "$http/v1/script"
fi

echo "agent: done"
