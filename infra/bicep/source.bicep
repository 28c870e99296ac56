// The source account: the store for uploads, and the fleet's queues and tables.
param account string
param container string
param location string
param redundancy 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS'
param prefix string
param publicNetwork 'Enabled' | 'Disabled'
param privateEndpointSubnet string
param privateDnsZones object
param tags object

@description('The fleet\'s identity.')
param fleet string

@description('The identity that counts messages.')
param scaler string

@description('The operators, who may upload, view and retry.')
param operators { id: string, kind: 'User' | 'Group' | 'ServicePrincipal' }[]

var queueNames = ['dispatch', 'seed', 'copy', 'image', 'poison']
var tableNames = ['jobs', 'operations']
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var queueDataReader = '19e7f393-937e-4f77-808e-94535e297925'
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'

var users = concat([{ id: fleet, kind: 'ServicePrincipal' }], operators)

module made 'storage-account.bicep' = {
  name: '${prefix}-source-account'
  params: {
    account: account
    container: container
    location: location
    redundancy: redundancy
    publicNetwork: publicNetwork
    tags: tags
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: account
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-01-01' = {
  parent: storage
  name: 'default'
  dependsOn: [made]
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = [for queue in queueNames: {
  parent: queueService
  name: '${prefix}-${queue}'
}]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-01-01' = {
  parent: storage
  name: 'default'
  dependsOn: [made]
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-01-01' = [for table in tableNames: {
  parent: tableService
  name: '${prefix}${table}'
}]

module blobAccess 'blob-access.bicep' = [for (user, index) in users: {
  name: '${prefix}-source-access-${index}'
  params: {
    account: made.outputs.account
    container: container
    principal: user.id
    kind: user.kind
    // Only workers let other accounts read. An upload sends its bytes itself.
    delegate: user.id == fleet
  }
}]

resource queueAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for user in users: {
  name: guid(resourceGroup().id, account, user.id, queueDataContributor)
  scope: storage
  properties: {
    principalId: user.id
    principalType: user.kind
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
  dependsOn: [made]
}]

resource tableAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for user in users: {
  name: guid(resourceGroup().id, account, user.id, tableDataContributor)
  scope: storage
  properties: {
    principalId: user.id
    principalType: user.kind
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
  }
  dependsOn: [made]
}]

resource counts 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, account, scaler, queueDataReader)
  scope: storage
  properties: {
    principalId: scaler
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataReader)
  }
  dependsOn: [made]
}

module privateEndpoint 'private-endpoint.bicep' = [for service in (empty(privateEndpointSubnet) ? [] : ['blob', 'queue', 'table']): {
  name: '${prefix}-source-${service}-endpoint'
  params: {
    name: '${account}-${service}'
    location: location
    service: service
    storage: made.outputs.id
    subnet: privateEndpointSubnet
    zone: privateDnsZones[?service] ?? ''
    tags: tags
  }
}]

output account string = made.outputs.account
