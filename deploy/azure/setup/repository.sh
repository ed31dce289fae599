# Pipelines, and who may write to main in Azure Repos. Sourced by azure_setup.

step "The pipelines"
graph=https://vssps.dev.azure.com/$organization/_apis
devops_get project_id "$devops/_apis/projects/$project?api-version=7.1" id
devops_get repository_id "$devops/$project/_apis/git/repositories/$repository?api-version=7.1" id

# devops_send METHOD URL BODY: sets `send` to the command, for `run` and the like.
devops_send() {
  send=(az rest --resource "$devops_resource" --method "$1" --url "$2" --body "$3")
}

# pipeline VARIABLE NAME FILE: creates a pipeline unless there is one with that name, and captures its id.
pipeline() {
  local found source
  devops_get found "$devops/$project/_apis/pipelines?api-version=7.1" "length(value[?name=='$2'])"
  source=$(json type yaml path "$3" repository "$(json id "$repository_id" type azureReposGit)")
  devops_send post "$devops/$project/_apis/pipelines?api-version=7.1" "$(json name "$2" folder / configuration "$source")"
  if_zero found "${send[@]}"
  devops_get "$1" "$devops/$project/_apis/pipelines?api-version=7.1" "value[?name=='$2'].id | [0]"
}

pipeline release_pipeline "$service" /azure-pipelines.yml
pipeline pull_request_pipeline "$service-pull-request" /azure-pipelines-pull-request.yml
pipeline training_pipeline "$service-train" /azure-pipelines-train.yml

step "A build of every pull request, without which main does not change"
build_validation=0609b952-1397-4640-95ec-e00a01b2c241
main_of="repositoryId=$repository_id&refName=refs/heads/main&policyType=$build_validation"
devops_get policies "$devops/$project/_apis/git/policy/configurations?$main_of&api-version=7.1" "length(value)"
main=$(json repositoryId "$repository_id" refName refs/heads/main matchKind Exact)
settings=$(json buildDefinitionId "=$pull_request_pipeline" displayName "$service" manualQueueOnly =false \
  queueOnSourceUpdateOnly =true validDuration =720 scope "[$main]")
devops_send post "$devops/$project/_apis/policy/configurations?api-version=7.1" \
  "$(json isEnabled =true isBlocking =true type "$(json id "$build_validation")" settings "$settings")"
if_zero policies "${send[@]}"

step "Only the recording identity may push to main past the policy; the token of a pull request's build may not push"
# Bits of the security namespace of Git repositories.
git_namespace=2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87
read=2 contribute=4 force_push=8 bypass_on_push=128 edit_policies=2048 manage_permissions=8192 bypass_on_merge=32768
branch=repoV2/$project_id/$repository_id
# Names of branches are written in hexadecimal UTF-16: `main`.
main_branch=$branch/refs/heads/6d00610069006e00

# permit_git TOKEN DESCRIPTOR ALLOW DENY
permit_git() {
  local entry
  entry=$(json descriptor "$2" allow "=$3" deny "=$4")
  devops_send post "$devops/_apis/accesscontrolentries/$git_namespace?api-version=7.1" \
    "$(json token "$1" merge =true accessControlEntries "[$entry]")"
  run "${send[@]}"
}

# Reading a repository of a private project takes a Basic licence; five in an organization are free.
members=https://vsaex.dev.azure.com/$organization/_apis/serviceprincipalentitlements
capture subject az rest --resource "$devops_resource" --method post --query descriptor \
  --url "$graph/graph/serviceprincipals?api-version=7.1-preview.1" --body "$(json originId "$principal_record")"
devops_get storage_key "$graph/graph/storagekeys/$subject?api-version=7.1-preview.1" value
member=$(json servicePrincipal "$(json origin aad originId "$principal_record" subjectKind servicePrincipal)" \
  accessLevel "$(json accountLicenseType express licensingSource account)" projectEntitlements \
  "[$(json group "$(json groupType projectReader)" projectRef "$(json id "$project_id")")]")
devops_send post "$members?api-version=7.1-preview.1" "$member"
wait_for '^(express|advanced)$' "the licence of $service-record in $devops/_settings/users" \
  az rest --resource "$devops_resource" --url "$members/$storage_key?api-version=7.1-preview.1" \
  --query accessLevel.accountLicenseType -- "${send[@]}"
devops_get recorder "$graph/identities?subjectDescriptors=$subject&api-version=7.1" "value[0].descriptor"
# The descriptor contains a backslash, which JSON has twice.
if [[ $dry ]]; then echo 'recorder=${recorder//\\/\\\\}'; else recorder=${recorder//\\/\\\\}; fi
permit_git "$branch" "$recorder" $read 0
permit_git "$main_branch" "$recorder" $((contribute + bypass_on_push)) 0
denied=$((contribute + force_push + bypass_on_push + edit_policies + manage_permissions + bypass_on_merge))
for builder in "$project%20Build%20Service%20($organization)" "Project%20Collection%20Build%20Service%20($organization)"; do
  devops_get build_service "$graph/identities?searchFilter=General&filterValue=$builder&api-version=7.1" "value[0].descriptor"
  if [[ $dry || $build_service ]]; then
    permit_git "$main_branch" "$build_service" 0 $denied
  else
    # Azure DevOps creates this identity with the first run that uses it.
    remaining+=("run azure_setup again after the first run of a pipeline, to deny ${builder//%20/ } to push")
  fi
done
