// Two custom roles, as no built-in one is narrow enough: those that may write images may write machines and networks too.
targetScope = 'subscription'

param prefix string

@description('The subscriptions in which the roles can be assigned.')
param subscriptions string[]

// Names of custom roles are unique in a tenant.
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
          // How far a change of an image is. Operations lie beside resource groups: where Azure does not let them be read all
          // the same, goldfleet looks at the image itself, which says less about why it failed.
          'Microsoft.Compute/locations/operations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          // Disks and snapshots come in here on the day that goldfleet makes them.
          // A disk encryption set may be named in an image that is written.
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
          // Azure wants this of whoever names a blob as the source of an image. goldfleet never asks for a key, and the
          // account refuses requests that are signed with one (allowSharedKeyAccess is false).
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
