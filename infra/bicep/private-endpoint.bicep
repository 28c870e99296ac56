// A private endpoint of one service of a storage account, and its DNS name if a zone is given.
param name string
param location string
param tags object

@description('blob, queue or table.')
param service string

@description('The storage account\'s resource id.')
param storage string
param subnet string

@description('The private DNS zone\'s resource id; empty if DNS is managed elsewhere.')
param zone string

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnet }
    privateLinkServiceConnections: [
      {
        name: name
        properties: {
          privateLinkServiceId: storage
          groupIds: [service]
        }
      }
    ]
  }
}

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = if (!empty(zone)) {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: service
        properties: {
          privateDnsZoneId: zone
        }
      }
    ]
  }
}
