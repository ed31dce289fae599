# Service connections, the checks that protect them, and the pipelines that may use them. Sourced by azure_setup.

step "Service connections with workload identity federation"
endpoints=$devops/$project/_apis/serviceendpoint/endpoints
checks=$devops/$project/_apis/pipelines/checks/configurations
devops_get approver "$devops/_apis/connectionData?api-version=7.1-preview.1" authenticatedUser.id

# connection NAME KEY VALUE…: creates a service connection unless there is one with that name, and captures its id in
# `endpoint`.
connection() {
  local found reference
  devops_get found "$endpoints?endpointNames=$1&api-version=7.1" count
  reference=$(json name "$1" projectReference "$(json id "$project_id" name "$project")")
  devops_send post "$devops/_apis/serviceendpoint/endpoints?api-version=7.1" \
    "$(json name "$1" "${@:2}" serviceEndpointProjectReferences "[$reference]")"
  if_zero found "${send[@]}"
  devops_get endpoint "$endpoints?endpointNames=$1&api-version=7.1" "value[0].id"
}

# federate CONNECTION IDENTITY: makes the identity trust this connection, and nothing else in the organization.
federate() {
  local connection_issuer connection_subject parameters="value[0].authorization.parameters"
  devops_get connection_issuer "$endpoints?endpointNames=$1&api-version=7.1" "$parameters.workloadIdentityFederationIssuer"
  devops_get connection_subject "$endpoints?endpointNames=$1&api-version=7.1" "$parameters.workloadIdentityFederationSubject"
  run az identity federated-credential create --name "$1" --identity-name "$service-$2" --resource-group "$name" \
    --issuer "$connection_issuer" --subject "$connection_subject" --audiences api://AzureADTokenExchange
}

# check RESOURCE-TYPE ID QUERY TYPE SETTINGS: adds a check, unless the query finds one like it.
check() {
  local found
  devops_get found "$checks?resourceType=$1&resourceId=$2&%24expand=settings&api-version=7.1-preview.1" "length(value[?$3])"
  devops_send post "$checks?api-version=7.1-preview.1" \
    "$(json type "$4" settings "$5" resource "$(json type "$1" id "$2")" timeout =43200)"
  if_zero found "${send[@]}"
}

# branch_control RESOURCE-TYPE ID: only runs of main may use it, and only while a policy protects main.
branch_control() {
  local definition=86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b inputs
  inputs=$(json allowedBranches refs/heads/main ensureProtectionOfBranch true allowUnknownStatusBranch false)
  check "$1" "$2" "settings.definitionRef.id=='$definition'" \
    "$(json id fe1de3ee-a436-41b4-bb20-f6eb4cb879a7 name "Task Check")" \
    "$(json displayName "Branch control" retryInterval =5 inputs "$inputs" \
      definitionRef "$(json id $definition name evaluatebranchProtection version 0.0.1)")"
}

# approval RESOURCE-TYPE ID: a person approves each use.
approval() {
  local type=8c6f20a7-a545-4486-9777-f762fafe0d4d
  check "$1" "$2" "type.id=='$type'" "$(json id $type name Approval)" \
    "$(json approvers "[$(json id "$approver")]" executionOrder =1 minRequiredApprovers =1 \
      requesterCannotBeApprover =false instructions "Release of $service")"
}

# exclusive_lock RESOURCE-TYPE ID: one run after another uses it.
exclusive_lock() {
  local type=2ef31ad6-baa0-403a-8b45-2cbc9b4e5563
  check "$1" "$2" "type.id=='$type'" "$(json id $type name ExclusiveLock)" "{}"
}

# permit RESOURCE-TYPE ID PIPELINE: no other pipeline may use it.
permit() {
  devops_send patch "$devops/$project/_apis/pipelines/pipelinepermissions/$1/$2?api-version=7.1-preview.1" \
    "$(json pipelines "[$(json id "=$3" authorized =true)]")"
  run "${send[@]}"
}

account=(subscriptionId "$subscription" subscriptionName "$subscription_name" creationMode Manual)
for identity in "${identities[@]}"; do
  declare -n client=client_$identity
  parameters=$(json tenantid "$tenant" serviceprincipalid "$client")
  connection "$service-$identity" type azurerm url "$management/" \
    data "$(json environment AzureCloud scopeLevel Subscription "${account[@]}")" \
    authorization "$(json scheme WorkloadIdentityFederation parameters "$parameters")"
  # The code of a pull request runs with `read`. It cannot use the others.
  [[ $identity == read ]] || branch_control endpoint "$endpoint"
  [[ ,$approval, != *,$identity,* ]] || approval endpoint "$endpoint"
  case $identity in staging | production) exclusive_lock endpoint "$endpoint" ;; esac
  federate "$service-$identity" "$identity"
  [[ $identity != read ]] || permit endpoint "$endpoint" "$pull_request_pipeline"
  if [[ $identity == training ]]; then permit endpoint "$endpoint" "$training_pipeline"
  else permit endpoint "$endpoint" "$release_pipeline"
  fi
done
parameters=$(json tenantId "$tenant" serviceprincipalid "$client_build" loginServer "$shared.azurecr.io" scope "$registry")
connection "$service-registry" type dockerregistry url "https://$shared.azurecr.io" \
  data "$(json registryId "$registry" registrytype ACR "${account[@]}")" \
  authorization "$(json scheme WorkloadIdentityFederation parameters "$parameters")"
branch_control endpoint "$endpoint"
federate "$service-registry" build
permit endpoint "$endpoint" "$release_pipeline"

step "The key that signs models"
files=$devops/$project/_apis/distributedtask/securefiles
devops_get key_count "$files?namePattern=$service-model.key&api-version=7.1-preview.1" count
if [[ $model_key ]]; then
  if_zero key_count az rest --resource "$devops_resource" --method post --body "@$model_key" \
    --url "$files?name=$service-model.key&api-version=7.1-preview.1" --headers Content-Type=application/octet-stream
  key_count=1
fi
if [[ $dry || $key_count != 0 ]]; then
  devops_get key "$files?namePattern=$service-model.key&api-version=7.1-preview.1" "value[0].id"
  branch_control securefile "$key"
  permit securefile "$key" "$training_pipeline"
else
  remaining+=("run azure_setup again with --model-key FILE, the private key of model.pub")
fi
