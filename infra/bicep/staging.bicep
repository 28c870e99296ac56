// A target's staging account: its VHDs are assembled here. Without a [[store]], it may also hold the region's chunks.
param account string
param container string
param location string
param tags object

@description('The fleet\'s identity.')
param fleet string

@description('The custom role for creating images from VHDs of this account.')
param role string

module made 'storage-account.bicep' = {
  name: '${account}-account'
  params: {
    account: account
    container: container
    location: location
    tags: tags
  }
}

module access 'blob-access.bicep' = {
  name: '${account}-access'
  params: {
    account: made.outputs.account
    container: container
    principal: fleet
    // Any target's account may become its region's store when targets are enabled or disabled.
    delegate: true
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: account
}

resource readsVhds 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, account, fleet, role)
  scope: storage
  properties: {
    principalId: fleet
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
  dependsOn: [made]
}
