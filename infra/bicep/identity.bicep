// A user-assigned managed identity, and the Kubernetes service accounts that may use it.
param name string
param location string
param tags object

@description('The OIDC issuer of the cluster; empty if there is none.')
param issuer string

@description('Its service accounts, as system:serviceaccount:NAMESPACE:NAME.')
param subjects string[]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

// Sequential, because Azure rejects concurrent writes for one identity.
@batchSize(1)
resource federated 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = [for subject in (empty(issuer) ? [] : subjects): {
  parent: identity
  name: replace(replace(subject, 'system:serviceaccount:', ''), ':', '-')
  properties: {
    issuer: issuer
    subject: subject
    audiences: ['api://AzureADTokenExchange']
  }
}]

output id string = identity.id
output principal string = identity.properties.principalId
output client string = identity.properties.clientId
