// Custom roles. No built-in role is narrow enough: roles that can write images can also write machines and networks.
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

resource snapshotReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'snapshot reader')
  properties: {
    roleName: '${prefix} snapshot reader ${suffix}'
    description: 'goldfleet: looks at the snapshots of a resource group, and lets the platform copy them elsewhere.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Resources/subscriptions/resourceGroups/read'
          'Microsoft.Compute/snapshots/read'
          // Azure may ask for it on the source of a copy to another subscription or region.
          'Microsoft.Compute/snapshots/beginGetAccess/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource snapshotMaker 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'snapshot maker')
  properties: {
    roleName: '${prefix} snapshot maker ${suffix}'
    description: 'goldfleet: makes replicas of snapshots and temporary disks in a resource group, looks at them and deletes them.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Resources/subscriptions/resourceGroups/read'
          'Microsoft.Compute/snapshots/read'
          'Microsoft.Compute/snapshots/write'
          'Microsoft.Compute/snapshots/delete'
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/write'
          'Microsoft.Compute/disks/delete'
          // A temporary disk is copied to a temporary snapshot. A hub's disk is filled by a SAS.
          'Microsoft.Compute/disks/beginGetAccess/action'
          'Microsoft.Compute/disks/endGetAccess/action'
          'Microsoft.Compute/locations/DiskOperations/read'
          'Microsoft.Compute/snapshots/beginGetAccess/action'
          'Microsoft.Compute/snapshots/endGetAccess/action'
          'Microsoft.Compute/locations/operations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          'Microsoft.Compute/diskEncryptionSets/read'
          // Before a deletion, goldfleet looks whether a lock protects the resource.
          'Microsoft.Authorization/locks/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource galleryPublisher 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'gallery publisher')
  properties: {
    roleName: '${prefix} gallery publisher ${suffix}'
    description: 'goldfleet: makes versions and definitions of images in the galleries of a resource group, and deletes none.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Resources/subscriptions/resourceGroups/read'
          'Microsoft.Compute/galleries/read'
          'Microsoft.Compute/galleries/images/read'
          'Microsoft.Compute/galleries/images/write'
          'Microsoft.Compute/galleries/images/versions/read'
          'Microsoft.Compute/galleries/images/versions/write'
          'Microsoft.Compute/locations/capsOperations/read'
          'Microsoft.Compute/diskEncryptionSets/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource diskReader 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'disk reader')
  properties: {
    roleName: '${prefix} disk reader ${suffix}'
    description: 'goldfleet: reads the content of disks and snapshots of a resource group, as sources of uploads.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/beginGetAccess/action'
          'Microsoft.Compute/disks/endGetAccess/action'
          'Microsoft.Compute/snapshots/read'
          'Microsoft.Compute/snapshots/beginGetAccess/action'
          'Microsoft.Compute/snapshots/endGetAccess/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource diskSnapshotter 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'disk snapshotter')
  properties: {
    roleName: '${prefix} disk snapshotter ${suffix}'
    description: 'goldfleet: makes temporary snapshots of attached disks of a resource group, and deletes them.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          // upload --from vm:ID reads which disks a machine has, and whether it runs.
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/snapshots/write'
          'Microsoft.Compute/snapshots/delete'
          // A lock would keep the snapshot from being deleted, so it is looked for before.
          'Microsoft.Authorization/locks/read'
          // The snapshot has the encryption of its disk.
          'Microsoft.Compute/diskEncryptionSets/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource imageSource 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'image source')
  properties: {
    roleName: '${prefix} image source ${suffix}'
    description: 'goldfleet: reads images and gallery versions of a resource group by temporary galleries and disks, and deletes these.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Compute/images/read'
          'Microsoft.Compute/galleries/read'
          'Microsoft.Compute/galleries/write'
          'Microsoft.Compute/galleries/delete'
          'Microsoft.Compute/galleries/images/read'
          'Microsoft.Compute/galleries/images/write'
          'Microsoft.Compute/galleries/images/delete'
          'Microsoft.Compute/galleries/images/versions/read'
          'Microsoft.Compute/galleries/images/versions/write'
          'Microsoft.Compute/galleries/images/versions/delete'
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/write'
          'Microsoft.Compute/disks/delete'
          'Microsoft.Compute/disks/beginGetAccess/action'
          'Microsoft.Compute/disks/endGetAccess/action'
          'Microsoft.Compute/locations/DiskOperations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          'Microsoft.Compute/diskEncryptionSets/read'
          // A lock would keep the temporaries from being deleted, so it is looked for before.
          'Microsoft.Authorization/locks/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource lockKeeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'lock keeper')
  properties: {
    roleName: '${prefix} lock keeper ${suffix}'
    description: 'goldfleet: puts locks on replicas of snapshots, and lifts them. Only for syncs with lock = true.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Authorization/locks/read'
          'Microsoft.Authorization/locks/write'
          'Microsoft.Authorization/locks/delete'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource machineViewer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'machine viewer')
  properties: {
    roleName: '${prefix} machine viewer ${suffix}'
    description: 'goldfleet: plans clones of machines, and finds what has the names of a clone.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/read'
          // Whether a machine runs, and whether it is generalised.
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/images/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource machineSource 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'machine source')
  properties: {
    roleName: '${prefix} machine source ${suffix}'
    description: 'goldfleet: clones machines of a resource group: reads them, snapshots their disks, stops them and starts them again.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/virtualMachines/deallocate/action'
          'Microsoft.Compute/virtualMachines/start/action'
          'Microsoft.Compute/disks/read'
          // A snapshot copies the disk.
          'Microsoft.Compute/disks/beginGetAccess/action'
          // vm clone --live: a temporary disk is created from the restore point.
          'Microsoft.Compute/disks/write'
          'Microsoft.Compute/disks/delete'
          'Microsoft.Compute/restorePointCollections/read'
          'Microsoft.Compute/restorePointCollections/write'
          'Microsoft.Compute/restorePointCollections/delete'
          'Microsoft.Compute/restorePointCollections/restorePoints/read'
          'Microsoft.Compute/restorePointCollections/restorePoints/write'
          // The snapshots of a clone in another subscription are here: an incremental snapshot must be in the subscription of its disk.
          'Microsoft.Compute/snapshots/read'
          'Microsoft.Compute/snapshots/write'
          'Microsoft.Compute/snapshots/delete'
          'Microsoft.Compute/snapshots/beginGetAccess/action'
          'Microsoft.Compute/diskEncryptionSets/read'
          'Microsoft.Compute/locations/operations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          'Microsoft.Authorization/locks/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource machineMaker 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'machine maker')
  properties: {
    roleName: '${prefix} machine maker ${suffix}'
    description: 'goldfleet: creates clones of machines, their disks, and images of machines in a resource group.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/read'
          'Microsoft.Compute/virtualMachines/instanceView/read'
          'Microsoft.Compute/virtualMachines/write'
          'Microsoft.Compute/disks/read'
          'Microsoft.Compute/disks/write'
          // vm clone --live: the restore point and the temporary disks of a clone in the same subscription are here.
          'Microsoft.Compute/disks/delete'
          'Microsoft.Compute/disks/beginGetAccess/action'
          'Microsoft.Compute/restorePointCollections/read'
          'Microsoft.Compute/restorePointCollections/write'
          'Microsoft.Compute/restorePointCollections/delete'
          'Microsoft.Compute/restorePointCollections/restorePoints/read'
          'Microsoft.Compute/restorePointCollections/restorePoints/write'
          'Microsoft.Compute/snapshots/read'
          'Microsoft.Compute/snapshots/write'
          'Microsoft.Compute/snapshots/delete'
          'Microsoft.Compute/snapshots/beginGetAccess/action'
          'Microsoft.Compute/images/read'
          'Microsoft.Compute/images/write'
          // An image whose creation failed is created again.
          'Microsoft.Compute/images/delete'
          'Microsoft.Compute/availabilitySets/read'
          'Microsoft.Compute/diskEncryptionSets/read'
          // A machine creates its network interface.
          'Microsoft.Network/networkInterfaces/read'
          'Microsoft.Network/networkInterfaces/write'
          'Microsoft.Network/networkInterfaces/join/action'
          'Microsoft.Compute/locations/operations/read'
          'Microsoft.Compute/locations/capsOperations/read'
          'Microsoft.Authorization/locks/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource subnetJoiner 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'subnet joiner')
  properties: {
    roleName: '${prefix} subnet joiner ${suffix}'
    description: 'goldfleet: connects clones of machines to the subnets of a resource group.'
    type: 'customRole'
    assignableScopes: scopes
    permissions: [
      {
        actions: [
          'Microsoft.Network/virtualNetworks/subnets/read'
          'Microsoft.Network/virtualNetworks/subnets/join/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

output machineViewer string = machineViewer.name
output machineSource string = machineSource.name
output machineMaker string = machineMaker.name
output subnetJoiner string = subnetJoiner.name
output snapshotReader string = snapshotReader.name
output snapshotMaker string = snapshotMaker.name
output galleryPublisher string = galleryPublisher.name
output diskReader string = diskReader.name
output imageSource string = imageSource.name
output diskSnapshotter string = diskSnapshotter.name
output lockKeeper string = lockKeeper.name
output imageMaker string = imageMaker.name
output vhdReader string = vhdReader.name
