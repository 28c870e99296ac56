// A storage account without keys, with one private container.
param account string
param container string
param location string
param redundancy 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' = 'Standard_LRS'
param publicNetwork 'Enabled' | 'Disabled' = 'Enabled'
param tags object

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: account
  location: location
  kind: 'StorageV2'
  sku: { name: redundancy }
  tags: tags
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: publicNetwork
    supportsHttpsTrafficOnly: true
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicNetwork == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: storage
  name: 'default'
}

resource store 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}

output id string = storage.id
output account string = storage.name
