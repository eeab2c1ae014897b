#!/bin/sh
# Asks a running page, as `make app` serves it, with curl alone: uploads a video, starts a prediction, reads its events.
#
#   examples/call_api.sh [VIDEO] [URL]
set -eu

video=${1:-$(dirname "$0")/handstand.mp4}
api=${2:-http://127.0.0.1:7860}/gradio_api

request() { curl --fail --silent --show-error "$@"; }

# ["/.../handstand.mp4"]: the path of the upload on the server
uploaded=$(request --form "files=@$video" "$api/upload")
file=$(echo "$uploaded" | sed 's/^\["//; s/"\]$//')

# {"event_id": "..."}
joined=$(request --header "Content-Type: application/json" \
    --data "{\"data\": [{\"path\": \"$file\", \"meta\": {\"_type\": \"gradio.FileData\"}}]}" "$api/call/predict")
event=$(echo "$joined" | sed 's/.*"event_id": *"\([^"]*\)".*/\1/')

# A stream of events; the last is "complete" with the outputs as JSON, or "error" with the reason.
events=$(request "$api/call/predict/$event")
echo "$events"
echo "$events" | grep -q '^event: complete'
