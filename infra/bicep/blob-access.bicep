// Permission to read and write a container's blobs, and optionally to let the storage service of another account read them.
param account string
param container string

@description('The principals.')
param principal string
param kind 'User' | 'Group' | 'ServicePrincipal' = 'ServicePrincipal'

@description('Whether they may get user delegation keys, which sign read-only SAS tokens for the store.')
param delegate bool

var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobDelegator = 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a'

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: account
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: storage
  name: 'default'
}

resource store 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: blobs
  name: container
}

resource contributes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(store.id, principal, blobDataContributor)
  scope: store
  properties: {
    principalId: principal
    principalType: kind
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// The key belongs to the account, so the scope cannot be the container. A SAS that is signed with it has at most the
// permissions of its creator.
resource delegates 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (delegate) {
  name: guid(storage.id, principal, blobDelegator)
  scope: storage
  properties: {
    principalId: principal
    principalType: kind
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDelegator)
  }
}
