# Registry, model store, vault, cluster. Sourced by azure_setup.

step "The account and its resource providers"
capture subscription az account show --query id
capture subscription_name az account show --query name
capture tenant az account show --query tenantId
capture administrator az ad signed-in-user show --query id
for provider in ContainerRegistry ContainerService EventGrid Insights KeyVault Logic ManagedIdentity Monitor Storage; do
  run az provider register --namespace "Microsoft.$provider" --wait
done
run az group create --name "$name" --location "$location"

step "The registry"
if [[ $shared == "$name" ]]; then
  unless az acr show --name "$name" --resource-group "$name" -- \
    az acr create --name "$name" --resource-group "$name" --location "$location" --sku Standard --admin-enabled false
fi
capture registry az acr show --name "$shared" --resource-group "$shared" --query id

step "The model store: no keys, no public blobs; overwritten and deleted blobs are kept for 30 days"
run az storage account create --name "$name" --resource-group "$name" --location "$location" --kind StorageV2 \
  --sku Standard_ZRS --min-tls-version TLS1_2 --https-only true --allow-blob-public-access false \
  --allow-shared-key-access false
run az storage account blob-service-properties update --account-name "$name" --resource-group "$name" \
  --enable-versioning true --enable-delete-retention true --delete-retention-days 30 \
  --enable-container-delete-retention true --container-delete-retention-days 30
for container in models captured; do
  run az storage container-rm create --name "$container" --storage-account "$name" --resource-group "$name"
done
capture storage az storage account show --name "$name" --resource-group "$name" --query id
models=$storage/blobServices/default/containers/models
captured=$storage/blobServices/default/containers/captured
# Captured data is deleted after 180 days, and what was overwritten or deleted of it after one.
run az storage account management-policy create --account-name "$name" --resource-group "$name" \
  --policy @deploy/azure/lifecycle.json

step "The vault with the key that signs images; the key never leaves it"
# After --teardown the deleted vault keeps its name for 90 days, and this run takes it back with its key.
capture deleted az keyvault list-deleted --resource-type vault --query "length([?name=='$name'])"
if_any deleted az keyvault recover --name "$name" --resource-group "$name" --location "$location"
unless az keyvault show --name "$name" --resource-group "$name" -- \
  az keyvault create --name "$name" --resource-group "$name" --location "$location" \
  --enable-rbac-authorization true --enable-purge-protection true
capture vault az keyvault show --name "$name" --resource-group "$name" --query id
principal_type=User grant "$administrator" "Key Vault Certificates Officer" "$vault"
wait_for '^[0-9]+$' "Key Vault Certificates Officer" \
  az keyvault certificate list --vault-name "$name" --query "length(@)"
run scripts/names --into build/azure deploy/azure/signing_certificate.json
unless az keyvault certificate show --vault-name "$name" --name images -- \
  az keyvault certificate create --vault-name "$name" --name images --policy @build/azure/signing_certificate.json
capture signing_key az keyvault certificate show --vault-name "$name" --name images --query kid

step "Managed Prometheus and the cluster"
if [[ $shared == "$name" ]]; then
  run az monitor account create --name "$name" --resource-group "$name" --location "$location"
fi
capture workspace az monitor account show --name "$shared" --resource-group "$shared" --query id
capture prometheus az monitor account show --name "$shared" --resource-group "$shared" \
  --query metrics.prometheusQueryEndpoint
if [[ $shared == "$name" ]]; then
  unless az aks show --name "$name" --resource-group "$name" -- \
    az aks create --name "$name" --resource-group "$name" --location "$location" --tier standard \
    --node-vm-size Standard_D4ds_v5 --zones 1 2 3 --node-count 3 --enable-cluster-autoscaler --min-count 3 \
    --max-count 24 --network-plugin azure --network-plugin-mode overlay --network-dataplane cilium \
    --network-policy cilium --enable-aad --enable-azure-rbac --disable-local-accounts --enable-oidc-issuer \
    --enable-workload-identity --enable-azure-monitor-metrics \
    --azure-monitor-workspace-resource-id "$workspace" --auto-upgrade-channel patch \
    --node-os-upgrade-channel NodeImage --no-ssh-key
fi
capture cluster az aks show --name "$shared" --resource-group "$shared" --query id
capture issuer az aks show --name "$shared" --resource-group "$shared" --query oidcIssuerProfile.issuerUrl
capture kubelet az aks show --name "$shared" --resource-group "$shared" \
  --query identityProfile.kubeletidentity.objectId
