# Deletes what azure_setup made. Sourced by azure_setup.

cat >&2 <<END
This deletes:
  the resource group $name with the store, all models and all captured data, the vault, the identities$(
  [[ $shared != "$name" ]] || printf ', registry, cluster and metrics')
  the roles "$name blob creator", "$name blob writer" and "$name blob keeper"
END
[[ $shared == "$name" ]] || echo "  the namespaces $staging_namespace $production_namespace in the cluster $shared" >&2
[[ ! $organization ]] || echo "  the service connections $service-… and the user $service-record in $devops/$project" >&2
cat >&2 <<END
It leaves the pipelines, the policy of main, the secure file, and environments of GitHub. The deleted vault keeps its
name and its key for 90 days, because it is protected from being purged; azure_setup recovers it.
END
if [[ ! $dry && ! $yes ]]; then
  read -rp "Type $name to delete all this: " answer
  [[ $answer == "$name" ]] || fail "nothing was deleted"
fi

# delete_captured VARIABLE COMMAND…: runs the command unless the captured id is empty.
delete_captured() {
  if [[ $dry ]]; then printf '[[ ! $%s ]] || ' "$1"; run "${@:2}"
  elif [[ ${!1} ]]; then run "${@:2}"
  fi
}

if [[ $organization ]]; then
  step "Service connections"
  devops_get project_id "$devops/_apis/projects/$project?api-version=7.1" id
  endpoints=$devops/$project/_apis/serviceendpoint/endpoints
  for connection in "${identities[@]}" registry model-published retraining; do
    devops_get endpoint "$endpoints?endpointNames=$service-$connection&api-version=7.1" "value[0].id"
    delete_captured endpoint az rest --resource "$devops_resource" --method delete \
      --url "$devops/_apis/serviceendpoint/endpoints/$endpoint?projectIds=$project_id&api-version=7.1"
  done
fi

capture group_exists az group exists --name "$name"
if [[ ! $dry && $group_exists == false ]]; then
  echo "# There is no resource group $name"
  exit 0
fi

if [[ $organization ]]; then
  step "The user that records"
  capture principal az identity list --resource-group "$name" --query "[?name=='$service-record'].principalId | [0]"
  graph=https://vssps.dev.azure.com/$organization/_apis/graph
  devops_get member "$graph/serviceprincipals?api-version=7.1-preview.1" "value[?originId=='$principal'].descriptor | [0]"
  if [[ $dry || $member ]]; then
    devops_get storage_key "$graph/storagekeys/$member?api-version=7.1-preview.1" value
    delete_captured storage_key az rest --resource "$devops_resource" --method delete \
      --url "https://vsaex.dev.azure.com/$organization/_apis/serviceprincipalentitlements/$storage_key?api-version=7.1-preview.1"
  else
    echo "azure_setup: $service-record is not among the users of $devops; look at $devops/_settings/users" >&2
  fi
fi

step "Roles"
for identity in "${identities[@]}" "${workloads[@]}"; do
  capture principal az identity list --resource-group "$name" --query "[?name=='$service-$identity'].principalId | [0]"
  delete_captured principal az role assignment delete --assignee-object-id "$principal"
done
# A custom role is found in the group that it can be assigned in.
for role in "$name blob creator" "$name blob writer" "$name blob keeper"; do
  capture role_id az role definition list --resource-group "$name" --custom-role-only true --name "$role" --query "[0].name"
  delete_captured role_id az role definition delete --resource-group "$name" --name "$role"
done

if [[ $shared != "$name" ]]; then
  step "Namespaces"
  in_cluster "kubectl delete namespace $staging_namespace $production_namespace --ignore-not-found"
fi

step "The resource group"
run az group delete --name "$name" --yes
