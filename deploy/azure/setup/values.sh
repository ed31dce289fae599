# What a person puts where. Sourced by azure_setup.

step "Values for the pipelines"
[[ ! $dry ]] || exit 0
cat <<END
In azure-pipelines-variables.yml (Azure), or as variables of the repository (GitHub), there as MODEL_STORE and so on:
  modelStore: https://$name.blob.core.windows.net/models
  captureStore: https://$name.blob.core.windows.net/captured/production
  signingKey: $signing_key
  resourceGroup: $shared
  cluster: $shared
  prometheus: $prometheus
END
if [[ $github ]]; then
  cat <<END
Only for GitHub:
  AZURE_TENANT_ID: $tenant
  AZURE_SUBSCRIPTION_ID: $subscription
END
  for identity in "${identities[@]}"; do
    declare -n client=client_$identity
    echo "  AZURE_CLIENT_ID_${identity^^}: $client"
  done
fi
echo "In service.toml: registry = \"$shared.azurecr.io\""
echo "By hand, see docs/azure.md:"
[[ ${#remaining[@]} == 0 ]] || printf '  %s\n' "${remaining[@]}"
if [[ $organization ]]; then
  echo "  add approvers to the service connection $service-production, which has you as its only one"
fi
if [[ $github ]]; then
  echo "  require reviewers in the environment production of $github"
  echo "  protect main with a ruleset, and give recording a deploy key that may bypass it"
fi
echo "  publish a first model"
