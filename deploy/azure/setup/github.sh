# Trust in GitHub's OpenID Connect tokens, and the environments that they name. Sourced by azure_setup.

step "Environments of $github that only main can use"
# The subject of a job in an environment names the environment and not the branch. A pull request would get every
# identity below if the environment did not refuse other branches; so this comes before the trust.
for environment in build staging production production-clean-up training; do
  repos=repos/$github/environments/$environment
  unless gh api "$repos" -- gh api --method PUT "$repos" \
    --field 'deployment_branch_policy[protected_branches]=false' \
    --field 'deployment_branch_policy[custom_branch_policies]=true'
  capture mains gh api "$repos/deployment-branch-policies" --jq '[.branch_policies[] | select(.name == "main")] | length'
  if_zero mains gh api --method POST "$repos/deployment-branch-policies" --raw-field name=main
  capture others gh api "$repos/deployment-branch-policies" --jq '[.branch_policies[] | select(.name != "main")] | length'
  [[ $dry || $others == 0 ]] || fail "the environment $environment of $github permits other branches than main"
done

# trust IDENTITY NAME SUBJECT: makes an identity trust the jobs of the repository that have this subject.
trust() {
  run az identity federated-credential create --name "github-$2" --identity-name "$service-$1" --resource-group "$name" \
    --issuer https://token.actions.githubusercontent.com --subject "repo:$github:$3" \
    --audiences api://AzureADTokenExchange
}

step "Trust in the workflows of $github"
trust read pull-request pull_request
trust read main ref:refs/heads/main
for environment in build staging production training; do
  trust "$environment" "$environment" "environment:$environment"
done
# Rejects what a lost job leaves. A canary must not wait for a reviewer, so this environment has none.
trust production production-clean-up environment:production-clean-up
# A model is recorded as taken up by the build, and as released by both deployments.
for environment in build staging production; do
  trust record "$environment" "environment:$environment"
done
