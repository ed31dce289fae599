# The events for a new model, and for an alert that asks for one. Sourced by azure_setup.

step "The webhook of the release pipeline: no identity, no secret"
# The name is part of a URL that the whole organization shares.
webhook_name=${service//-/_}_model_published
connection "$service-model-published" type incomingwebhook url https://dev.azure.com \
  authorization "$(json scheme None parameters "$(json webhookname "$webhook_name")")"
permit endpoint "$endpoint" "$release_pipeline"

step "The event for a new manifest, relayed to the pipeline's webhook"
relay=$management/subscriptions/$subscription/resourceGroups/$name/providers/Microsoft.Logic/workflows/model-published
webhook="$devops/_apis/public/distributedtask/webhooks/$webhook_name?api-version=6.0-preview"
# Event Grid validates a webhook with a handshake. Azure DevOps does not support it, this relay does.
run az deployment group create --name model-published --resource-group "$name" \
  --template-file deploy/azure/relay.json --parameters "webhook=$webhook"
# The relay's URL contains a signature. It is piped from one command to the next, so that no argument, file or log
# has it.
address=(az rest --method post --url "$relay/triggers/event/listCallbackUrl?api-version=2019-05-01" --query value --output tsv)
subscribe=(az rest --method put --output none --body @-
  --url "$management$storage/providers/Microsoft.EventGrid/eventSubscriptions/model-published?api-version=2022-06-15")
new_manifest=$(json subjectBeginsWith /blobServices/default/containers/models/ subjectEndsWith /manifest.json \
  includedEventTypes '["Microsoft.Storage.BlobCreated"]')
destination=$(json endpointType WebHook properties "$(json endpointUrl '&')")
event="s|.*|$(json properties "$(json destination "$destination" filter "$new_manifest")")|"
if [[ $dry ]]; then echo "$(quoted "${address[@]}") | $(quoted sed "$event") | $(quoted "${subscribe[@]}")"
else "${address[@]}" | sed "$event" | "${subscribe[@]}"
fi

step "The webhook of the training pipeline: no identity, no secret, and nothing that it is sent is believed"
webhook_name=${service//-/_}_retraining
connection "$service-retraining" type incomingwebhook url https://dev.azure.com \
  authorization "$(json scheme None parameters "$(json webhookname "$webhook_name")")"
permit endpoint "$endpoint" "$training_pipeline"
# For alert rules of Azure Monitor. Alertmanager calls the webhook itself.
run az monitor action-group create --name "$service-retraining" --short-name retraining --resource-group "$name" \
  --action webhook retraining "$devops/_apis/public/distributedtask/webhooks/$webhook_name?api-version=6.0-preview"
