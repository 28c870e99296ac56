// Two custom roles. No built-in role is narrow enough: roles that can write images can also write machines and networks.
targetScope = 'subscription'

param prefix string

@description('The subscriptions in which the roles can be assigned.')
param subscriptions string[]

// Names of custom roles are unique per tenant.
var suffix = uniqueString(subscription().id, prefix)
var scopes = map(subscriptions, id => '/subscriptions/${id}')

resource imageMaker 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'image maker')
  properties: {
    roleName: '${prefix} image maker ${suffix}'
    description: 'goldfleet: makes managed images in a resource group, looks at them and deletes them.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Resources/subscriptions/resourceGroups/read'
          'Microsoft.Compute/images/read'
          'Microsoft.Compute/images/write'
          'Microsoft.Compute/images/delete'
          // The status of image operations. Operations are outside of resource groups. If Azure denies access to them,
          // goldfleet polls the image itself, which gives less detail about failures.
          'Microsoft.Compute/locations/operations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          // Add disks and snapshots here when goldfleet creates them.
          // Images may refer to a disk encryption set.
          'Microsoft.Compute/diskEncryptionSets/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource vhdReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'VHD reader')
  properties: {
    roleName: '${prefix} VHD reader ${suffix}'
    description: 'goldfleet: what Azure asks of whoever makes an image from a VHD in this storage account.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Storage/storageAccounts/read'
          // Azure requires this to create an image from a blob. goldfleet never requests a key, and the account rejects
          // requests that are signed with one (allowSharedKeyAccess is false).
          'Microsoft.Storage/storageAccounts/listKeys/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

output imageMaker string = imageMaker.name
output vhdReader string = vhdReader.name
