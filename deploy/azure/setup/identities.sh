# Managed identities, their roles, and the namespaces. Sourced by azure_setup.

step "Managed identities, without secrets"
for identity in "${identities[@]}" "${workloads[@]}"; do
  run az identity create --name "$service-$identity" --resource-group "$name" --location "$location"
  capture "principal_$identity" az identity show --name "$service-$identity" --resource-group "$name" --query principalId
  capture "client_$identity" az identity show --name "$service-$identity" --resource-group "$name" --query clientId
done

step "Roles for blobs that are narrower than Azure's own"
run az deployment group create --name roles --resource-group "$name" --template-file deploy/azure/roles.json
creator="$name blob creator" writer="$name blob writer" keeper="$name blob keeper"
path="@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"

step "Roles"
grant "$kubelet" AcrPull "$registry"
# Everything that a pull request can reach.
grant "$principal_read" "Storage Blob Data Reader" "$models"
grant "$principal_build" AcrPush "$registry"
grant "$principal_build" "Storage Blob Data Reader" "$models"
# Replaying what production has answered through a new model.
grant "$principal_build" "Storage Blob Data Reader" "$captured"
grant "$principal_build" "Key Vault Crypto User" "$vault/keys/images"
grant "$principal_build" "Key Vault Certificate User" "$vault/certificates/images"
for identity in staging production record; do
  declare -n principal=principal_$identity
  grant "$principal" "Azure Kubernetes Service Cluster User Role" "$cluster"
  grant "$principal" AcrPull "$registry"
done
grant "$principal_production" "Monitoring Data Reader" "$workspace"
# Recording rewrites the ledger and nothing else. No ledger is created: the first publication does that.
grant "$principal_record" "Storage Blob Data Reader" "$models"
grant "$principal_record" "$writer" "$models" --condition-version 2.0 --condition "($path StringLike '*/ledger.jsonl')"
# Training creates versions. It needs to write for the ledger and for files in blocks; it cannot overwrite a manifest,
# whose digest covers all other files of a version.
grant "$principal_training" "Storage Blob Data Reader" "$models"
grant "$principal_training" "$creator" "$models"
grant "$principal_training" "$writer" "$models" --condition-version 2.0 --condition "($path StringNotLike '*/manifest.json')"
# It reads the labelled rows that a model is trained on, and which alerts are firing.
grant "$principal_training" "Storage Blob Data Reader" "$captured"
grant "$principal_training" "Monitoring Data Reader" "$workspace"
# The pods add captured data, and can neither read nor change it.
grant "$principal_capture" "$creator" "$captured"
grant "$principal_monitor" "Storage Blob Data Reader" "$captured"
grant "$principal_monitor" "Storage Blob Data Reader" "$models"
grant "$principal_compact" "Storage Blob Data Reader" "$captured"
grant "$principal_compact" "$keeper" "$captured"
[[ ! $readers ]] || principal_type=Group grant "$readers" "Storage Blob Data Reader" "$captured"
principal_type=User grant "$administrator" "Azure Kubernetes Service RBAC Cluster Admin" "$cluster"

# account NAME IDENTITY: makes a service account of the namespace, with an identity that trusts it.
account() {
  declare -n client=client_$2
  in_cluster "kubectl create serviceaccount $1 $in $apply"
  in_cluster "kubectl annotate serviceaccount $1 --overwrite $in azure.workload.identity/client-id=$client"
  federate_account "$1" "$2"
}

# federate_account NAME IDENTITY: makes the identity trust the service account of the namespace.
federate_account() {
  run az identity federated-credential create --name "$namespace" --identity-name "$service-$2" \
    --resource-group "$name" --issuer "$issuer" --subject "system:serviceaccount:$namespace:$1" \
    --audiences api://AzureADTokenExchange
}

step "The namespaces, the roles in each, and the service accounts' identities"
wait_for '^0$' "Azure Kubernetes Service RBAC Cluster Admin" \
  az aks command invoke --name "$shared" --resource-group "$shared" --query exitCode \
  --command "kubectl auth can-i create namespaces"
run scripts/names --into build/azure deploy/azure/cluster.yaml
in_cluster "kubectl apply --filename cluster.yaml" --file build/azure/cluster.yaml
for stage in staging production; do
  declare -n namespace=${stage}_namespace principal=principal_$stage
  in="--namespace $namespace" apply="--dry-run=client --output yaml | kubectl apply --filename -"
  in_cluster "kubectl create rolebinding pipeline --role pipeline --user $principal $in $apply"
  in_cluster "kubectl create rolebinding record --role reader --user $principal_record $in $apply"
  # The identity of the pods has no role. A container of theirs names another one, which only creates blobs.
  account "$service" pods
  federate_account "$service" capture
  account "$service-monitor" monitor
  account "$service-compact" compact
  blobs=https://$name.blob.core.windows.net
  values="--from-literal CAPTURE_STORE=$blobs/captured/$stage"
  values+=" --from-literal MODEL_STORE=$blobs/models --from-literal CAPTURE_CLIENT_ID=$client_capture"
  in_cluster "kubectl create configmap $service-data $values $in $apply"
done
