# Functions that run a command, or with --dry-run print it in a form that a shell can run. Sourced by azure_setup.

# The application ID of Azure DevOps in Microsoft Entra.
devops_resource=499b84ac-1321-427f-aa17-267ca6975798

quoted() {
  local argument line=
  for argument in "$@"; do
    if [[ $argument =~ ^[A-Za-z0-9_./:=@,+-]+$ ]]; then line+=" $argument"
    elif [[ $argument == *'$'* ]]; then argument=${argument//\\/\\\\}; line+=" \"${argument//\"/\\\"}\""
    else line+=" ${argument@Q}"
    fi
  done
  printf '%s' "${line# }"
}

# silently COMMAND…: runs it without its output.
silently() {
  if [[ $1 == az ]]; then "$@" --output none; else "$@" >/dev/null; fi
}

run() {
  if [[ $dry ]]; then quoted "$@"; echo; else silently "$@"; fi
}

# capture VARIABLE COMMAND…: sets the variable to the command's output.
capture() {
  local -n variable=$1
  local -a command=("${@:2}")
  [[ $2 != az ]] || command+=(--output tsv)
  if [[ $dry ]]; then
    printf '%s=$(%s)\n' "$1" "$(quoted "${command[@]}")"
    variable=\$$1
  else
    variable=$("${command[@]}")
  fi
}

# unless COMMAND… -- COMMAND…: runs the second command if the first fails, because it must not run twice.
unless() {
  local -a condition=()
  while [[ $1 != -- ]]; do condition+=("$1"); shift; done
  shift
  if [[ $dry ]]; then echo "$(quoted "${condition[@]}") >/dev/null 2>&1 || $(quoted "$@")"
  elif ! silently "${condition[@]}" 2>/dev/null; then silently "$@"
  fi
}

# if_zero VARIABLE COMMAND…: runs the command if the captured number is 0; if_any, if it is not.
if_zero() {
  if [[ $dry ]]; then printf '[[ $%s != 0 ]] || ' "$1"; run "${@:2}"
  elif [[ ${!1} == 0 ]]; then run "${@:2}"
  fi
}

if_any() {
  if [[ $dry ]]; then printf '[[ $%s == 0 ]] || ' "$1"; run "${@:2}"
  elif [[ ${!1} != 0 ]]; then run "${@:2}"
  fi
}

# wait_for PATTERN WHAT COMMAND… [-- COMMAND…]: repeats the command until its output matches, for at most wait_s
# seconds. The second command, if any, runs before each repetition.
wait_for() {
  local pattern=$1 what=$2 end=$((SECONDS + wait_s))
  local -a condition=() remedy=()
  shift 2
  while [[ $# -gt 0 && $1 != -- ]]; do condition+=("$1"); shift; done
  condition+=(--output tsv)
  [[ $# == 0 ]] || remedy=("${@:2}")
  if [[ $dry ]]; then
    echo "until [[ \$($(quoted "${condition[@]}") 2>/dev/null) =~ $pattern ]]; do ${remedy[0]:+$(quoted "${remedy[@]}"); }sleep 10; done"
    return
  fi
  until [[ $("${condition[@]}" 2>/dev/null) =~ $pattern ]]; do
    [[ $SECONDS -lt $end ]] || fail "$what: not in effect after $wait_s seconds; run azure_setup again"
    [[ ! ${remedy[0]:-} ]] || run "${remedy[@]}"
    sleep 10
  done
}

# grant PRINCIPAL ROLE SCOPE […]: assigns a role, with the smallest scope that is enough. Azure may not know a new
# identity or role in each of its regions yet; then it is tried again.
grant() {
  local end=$((SECONDS + wait_s)) problem
  local -a assign=(az role assignment create --assignee-object-id "$1"
    --assignee-principal-type "${principal_type:-ServicePrincipal}" --role "$2" --scope "$3" "${@:4}")
  if [[ $dry ]]; then run "${assign[@]}"; return; fi
  until problem=$(run "${assign[@]}" 2>&1); do
    [[ $problem =~ PrincipalNotFound|"doesn't exist"|RoleDefinitionDoesNotExist && $SECONDS -lt $end ]] || fail "$2: $problem"
    sleep 10
  done
}

fail() {
  echo "azure_setup: $1" >&2
  exit 1
}

step() {
  [[ ! $dry ]] || echo
  echo "# $1"
}

# json KEY VALUE…: prints an object. A value that starts with { or [ is inserted as it is, and what follows a =.
json() {
  local pairs=
  while [[ $# -gt 0 ]]; do
    case $2 in
      '{'* | '['*) pairs+=", \"$1\": $2" ;;
      =*) pairs+=", \"$1\": ${2#=}" ;;
      *) pairs+=", \"$1\": \"$2\"" ;;
    esac
    shift 2
  done
  printf '{%s}' "${pairs#, }"
}

# devops_get VARIABLE URL QUERY: reads from Azure DevOps.
devops_get() {
  capture "$1" az rest --resource "$devops_resource" --url "$2" --query "$3"
}

# in_cluster COMMAND [ARGUMENT…]: runs a shell command in the cluster with the caller's permissions.
in_cluster() {
  local code
  capture code az aks command invoke --name "$shared" --resource-group "$shared" --query exitCode --command "$1" "${@:2}"
  [[ $dry || $code == 0 ]] || fail "in the cluster: $1: exit code $code"
}
