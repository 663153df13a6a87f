#!/usr/bin/env bash
# A run on a slice of TPUs in a GKE cluster; launch/gke.md tells the whole way.
#
#   bash launch/gke.sh [--dry-run] VERB
#
#   build    makes the image and pushes it
#   apply    starts the run: launch/jobset.yaml, filled in
#   logs     follows what the first host prints
#   status   how it stands
#   delete   deletes the run, and with it the nodes; what is on gs:// stays
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "build apply logs status delete" "$@"

# `gcloud container clusters get-credentials` names it so. Whatever else kubectl
# may point at stays untouched.
kubectl_there() {
  require PROJECT CLUSTER CLUSTER_LOCATION
  need kubectl "install it: gcloud components install kubectl"
  run kubectl --context="gke_${PROJECT}_${CLUSTER_LOCATION}_$CLUSTER" "$@"
}

build() {
  require IMAGE
  need docker "install it from https://docs.docker.com/engine/install"
  run docker build --platform=linux/amd64 --file=launch/Dockerfile \
    --tag="$IMAGE" .
  run docker push "$IMAGE"
}

apply() {
  local manifest
  require PROJECT CLUSTER CLUSTER_LOCATION IMAGE TPU_ACCELERATOR TOPOLOGY
  require_whole CHIPS_PER_NODE
  require_price
  require_spot
  [[ "$TOPOLOGY" =~ ^[0-9]+(x[0-9]+)+$ ]] || die "TOPOLOGY '$TOPOLOGY' in\
 $ENV_FILE is not of the form 4x4 or 2x2x4"
  local -i chips="${TOPOLOGY//x/*}"
  ((chips % CHIPS_PER_NODE == 0)) || die "TOPOLOGY $TOPOLOGY in $ENV_FILE has\
 $chips chips, which CHIPS_PER_NODE $CHIPS_PER_NODE does not divide"
  manifest="$(fill $((chips / CHIPS_PER_NODE)))"
  if [[ "$DRY_RUN" == true ]]; then
    printf "%s <<'MANIFEST'\n%s\nMANIFEST\n" \
      "$(kubectl_there apply --filename=-)" "$manifest"
  else
    kubectl_there apply --filename=- <<<"$manifest"
  fi
  tell_cost "$chips"
}

# fill NODES: prints the manifest.
fill() {
  local text selector words=() word
  selector="\"cloud.google.com/gke-tpu-accelerator\": $(json "$TPU_ACCELERATOR")"
  selector+=", \"cloud.google.com/gke-tpu-topology\": $(json "$TOPOLOGY")"
  [[ "$SPOT" == false ]] || selector+=', "cloud.google.com/gke-spot": "true"'
  for word in "${COMMAND[@]}" --distributed; do
    words+=("$(json "$word")")
  done
  # The comments of the file are for its readers.
  text="$(grep -v '^ *#' launch/jobset.yaml)"
  text=${text//'{{NAME}}'/"$(json "$RUN_NAME")"}
  text=${text//'{{NODES}}'/"$1"}
  text=${text//'{{NODE_SELECTOR}}'/"{$selector}"}
  text=${text//'{{IMAGE}}'/"$(json "$IMAGE")"}
  text=${text//'{{COMMAND}}'/"[$(IFS=, && echo "${words[*]}")]"}
  text=${text//'{{CHIPS_PER_NODE}}'/"$CHIPS_PER_NODE"}
  printf '%s\n' "$text"
}

# json TEXT: as a string of JSON, which is YAML too. Kubernetes would put the
# value of a variable in the place of $(NAME).
json() {
  local text
  text="$(sed 's/[\\"]/\\&/g; s/[$][(]/$&/g' <<<"$1")"
  text=${text//$'\n'/\\n}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

PODS="jobset.sigs.k8s.io/jobset-name=$RUN_NAME"
case "$VERB" in
  build) build ;;
  apply) apply ;;
  logs)
    kubectl_there logs --follow --tail=200 \
      --selector="$PODS,batch.kubernetes.io/job-completion-index=0"
    ;;
  status)
    kubectl_there get jobset "$RUN_NAME"
    kubectl_there get pods --selector="$PODS" --output=wide
    ;;
  delete) kubectl_there delete jobset "$RUN_NAME" --ignore-not-found ;;
esac
