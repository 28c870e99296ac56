// The resource group for a target's managed images, and permission to create them.
targetScope = 'subscription'

param name string
param location string
param tags object

@description('Whether to create the group, or only to assign the role.')
param make bool

@description('The fleet\'s identity.')
param fleet string

@description('The custom role for images.')
param role string

resource imageGroup 'Microsoft.Resources/resourceGroups@2025-04-01' = if (make) {
  name: name
  location: location
  tags: tags
}

module right 'group-right.bicep' = {
  name: 'goldfleet-right-${uniqueString(name)}'
  scope: resourceGroup(name)
  params: {
    fleet: fleet
    role: role
  }
  dependsOn: [imageGroup]
}
