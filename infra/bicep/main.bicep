// Everything that a fleet needs on Azure: the source account with its queues and tables, a staging account and an image
// resource group for each target, one identity with minimal permissions, and the programs in Container Apps. Deployments are
// idempotent. Without 'image', everything except the programs is created, so that the registry exists before the push.
targetScope = 'subscription'

@description('A target, in the format of `goldfleet targets list --output json`.')
type targetRow = {
  subscription: string
  region: string
  resource_group: string
  account: string
  container: string
  ring: int
  enabled: bool
  tags: object?
  disk_encryption_set: string?
  @description('Targets of other tenants are left out, because a deployment cannot reach them.')
  tenant: string?
  sinks: string[]?
}

@description('A [[store]] of the targets file. Its account is created in the resource group of the fleet.')
type storeRow = {
  region: string
  account: string
  container: string
}

@description('An operator, who may upload, view and retry: a user, a group, or the identity of a pipeline.')
type operatorRow = {
  id: string
  kind: 'User' | 'Group' | 'ServicePrincipal'
}

@description('A resource group of a [[sync]] or of dispatch --from. It exists already.')
type snapshotGroupRow = {
  subscription: string
  resource_group: string
  @description('source: the group of `from`. replicas: a group of `to`, of `scratch`, of a hub, or of a target of dispatch --from.')
  use: 'source' | 'replicas'
  @description('Whether the replicas get locks: `lock = true`.')
  lock: bool?
  @description('Whether images and gallery versions there are sources of dispatch --from. Their temporary galleries and disks are there too.')
  images: bool?
}

@description('A resource group with galleries. Both exist already.')
type galleryGroupRow = {
  subscription: string
  resource_group: string
}

@description('A resource group with disks and snapshots that operators upload. It exists already.')
type sourceGroupRow = {
  subscription: string
  resource_group: string
  @description('Whether operators may make temporary snapshots there, to upload disks that machines have.')
  snapshots: bool?
  @description('Whether operators may make temporary galleries and disks there, to upload images and gallery versions.')
  images: bool?
}

@description('A resource group for vm clone. It exists already.')
type machineGroupRow = {
  subscription: string
  resource_group: string
  @description('source: machines that are cloned. clones: clones and images are created there. network: it has the subnets of clones.')
  use: 'source' | 'clones' | 'network'
}

@description('The region of the source account and of the programs.')
param location string = deployment().location

@description('The resource group for everything except the targets.')
param group string = 'goldfleet'

@description('[coordination] prefix: the prefix of the names of queues, tables and the resources here. Lower-case letters and digits, starting with a letter.')
@minLength(3)
@maxLength(20)
param prefix string = 'goldfleet'

@description('[source] account.')
@minLength(3)
@maxLength(24)
param sourceAccount string

@description('[source] container.')
param sourceContainer string = 'golden'

@description('The redundancy of the source account: one data centre, several zones, or a second region.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS'])
param sourceRedundancy string = 'Standard_LRS'

@description('All targets, enabled or not.')
param targets targetRow[]

@description('The index of the first target of this deployment. Roles are assigned for all targets.')
@minValue(0)
param firstTarget int = 0

@description('The number of targets of this deployment. A deployment may have 4 MiB with all loops expanded.')
@minValue(1)
@maxValue(250)
param targetsAtOnce int = 250

@description('The [[store]]s of the targets file.')
param stores storeRow[] = []

@description('The resource groups of all [[sync]]s and of dispatch --from.')
param snapshotGroups snapshotGroupRow[] = []

@description('The resource groups of all [[gallery]] entries. Operators get the right too, because they promote versions.')
param galleryGroups galleryGroupRow[] = []

@description('The resource groups with disks and snapshots that operators upload.')
param sourceGroups sourceGroupRow[] = []

@description('The resource groups for vm clone.')
param machineGroups machineGroupRow[] = []

@description('The targets file itself, which the dispatcher reads.')
param targetsFile string

@description('Whether to create the resource groups for images. Set it to false if they exist.')
param makeImageGroups bool = true

@description('The operators, who may upload, view and retry.')
param operators operatorRow[] = []

@description('The container image of the programs. If empty, the programs are not created.')
param image string = ''

@description('The maximum number of workers.')
@minValue(1)
@maxValue(300)
param maxWorkers int = 10

@description('A subnet for private endpoints of the source account. If empty, none are created.')
param privateEndpointSubnet string = ''

@description('Private DNS zones for them, by service (blob, queue, table): resource ids.')
param privateDnsZones object = {}

@description('Whether the source account can be reached from the internet (with a token). Read docs/deploy.md before you set Disabled.')
@allowed(['Enabled', 'Disabled'])
param sourcePublicNetwork string = 'Enabled'

@description('A subnet for the programs, delegated to Microsoft.App/environments. If empty, Azure\'s own network is used.')
param programSubnet string = ''

@description('The OIDC issuer of a Kubernetes cluster that may act as the fleet, see infra/kubernetes.')
param kubernetesIssuer string = ''

@description('Tags for all resources.')
param tags object = {}

var reachable = filter(targets, target => empty(target.?tenant))
var placed = take(skip(reachable, firstTarget), targetsAtOnce)
// A subscription's resource group may serve several regions and is created once.
var imageGroups = union(map(placed, target => '${target.subscription}/${toLower(target.resource_group)}'), [])
// They may be in other resource groups.
var encryptionSets = union(filter(map(placed, target => toLower(target.?disk_encryption_set ?? '')), set => !empty(set)), [])
var subscriptions = union(array(subscription().subscriptionId), map(reachable, target => target.subscription), map(snapshotGroups, place => place.subscription), map(sourceGroups, place => place.subscription), map(galleryGroups, place => place.subscription), map(machineGroups, place => place.subscription))
var snapshottedGroups = filter(sourceGroups, place => place.?snapshots ?? false)
var imageSourceGroups = filter(snapshotGroups, place => place.?images ?? false)
var uploadedImageGroups = filter(sourceGroups, place => place.?images ?? false)
var lockedGroups = filter(snapshotGroups, place => place.?lock ?? false)

resource fleetGroup 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: group
  location: location
  tags: tags
}

module roles 'roles.bicep' = {
  name: '${prefix}-roles'
  params: {
    prefix: prefix
    subscriptions: subscriptions
  }
}

module fleet 'identity.bicep' = {
  name: '${prefix}-fleet'
  scope: fleetGroup
  params: {
    name: '${prefix}-fleet'
    location: location
    issuer: kubernetesIssuer
    subjects: ['system:serviceaccount:goldfleet:goldfleet']
    tags: tags
  }
}

// The scaler only needs to count messages.
module scaler 'identity.bicep' = {
  name: '${prefix}-scaler'
  scope: fleetGroup
  params: {
    name: '${prefix}-scaler'
    location: location
    issuer: kubernetesIssuer
    // KEDA from its Helm chart, and KEDA as the AKS add-on.
    subjects: ['system:serviceaccount:keda:keda-operator', 'system:serviceaccount:kube-system:keda-operator']
    tags: tags
  }
}

module source 'source.bicep' = {
  name: '${prefix}-source'
  scope: fleetGroup
  params: {
    account: sourceAccount
    container: sourceContainer
    location: location
    redundancy: sourceRedundancy
    prefix: prefix
    fleet: fleet.outputs.principal
    scaler: scaler.outputs.principal
    operators: operators
    publicNetwork: sourcePublicNetwork
    privateEndpointSubnet: privateEndpointSubnet
    privateDnsZones: privateDnsZones
    tags: tags
  }
}

module regionalStore 'store.bicep' = [for store in stores: {
  name: '${prefix}-store-${store.account}'
  scope: fleetGroup
  params: {
    account: store.account
    container: store.container
    location: store.region
    fleet: fleet.outputs.principal
    tags: tags
  }
}]

module imageGroup 'image-group.bicep' = [for place in imageGroups: {
  name: '${prefix}-images-${uniqueString(place)}'
  scope: subscription(split(place, '/')[0])
  params: {
    name: split(place, '/')[1]
    make: makeImageGroups
    location: filter(reachable, target => '${target.subscription}/${toLower(target.resource_group)}' == place)[0].region
    fleet: fleet.outputs.principal
    role: roles.outputs.imageMaker
    tags: tags
  }
}]

module snapshotRight 'group-right.bicep' = [for place in snapshotGroups: {
  name: '${prefix}-snapshots-${place.use}-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: place.use == 'source' ? roles.outputs.snapshotReader : roles.outputs.snapshotMaker
  }
}]

// A version is created from a temporary snapshot in the group, and a temporary disk proves that it can be used.
module galleryRight 'group-right.bicep' = [for place in galleryGroups: {
  name: '${prefix}-gallery-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: roles.outputs.galleryPublisher
  }
}]

module galleryTemporariesRight 'group-right.bicep' = [for place in galleryGroups: {
  name: '${prefix}-gallery-temporaries-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: roles.outputs.snapshotMaker
  }
}]

module promoteRight 'operators-right.bicep' = [for place in galleryGroups: {
  name: '${prefix}-promote-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    operators: operators
    role: roles.outputs.galleryPublisher
  }
}]

module readRight 'operators-right.bicep' = [for place in sourceGroups: {
  name: '${prefix}-read-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    operators: operators
    role: roles.outputs.diskReader
  }
}]

module snapshotDiskRight 'operators-right.bicep' = [for place in snapshottedGroups: {
  name: '${prefix}-snapshot-disks-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    operators: operators
    role: roles.outputs.diskSnapshotter
  }
}]

module imageSourceRight 'group-right.bicep' = [for place in imageSourceGroups: {
  name: '${prefix}-image-sources-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: roles.outputs.imageSource
  }
}]

module uploadImageRight 'operators-right.bicep' = [for place in uploadedImageGroups: {
  name: '${prefix}-upload-images-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    operators: operators
    role: roles.outputs.imageSource
  }
}]

module machineRight 'group-right.bicep' = [for place in machineGroups: {
  name: '${prefix}-machines-${place.use}-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: place.use == 'source' ? roles.outputs.machineSource : (place.use == 'clones' ? roles.outputs.machineMaker : roles.outputs.subnetJoiner)
  }
}]

module machineViewRight 'operators-right.bicep' = [for place in filter(machineGroups, place => place.use != 'network'): {
  name: '${prefix}-view-machines-${place.use}-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    operators: operators
    role: roles.outputs.machineViewer
  }
}]

module lockRight 'group-right.bicep' = [for place in lockedGroups: {
  name: '${prefix}-locks-${uniqueString(place.resource_group)}'
  scope: resourceGroup(place.subscription, place.resource_group)
  params: {
    fleet: fleet.outputs.principal
    role: roles.outputs.lockKeeper
  }
}]

module encryptionRight 'encryption-right.bicep' = [for set in encryptionSets: {
  name: '${prefix}-encryption-${uniqueString(set)}'
  scope: resourceGroup(split(set, '/')[2], split(set, '/')[4])
  params: {
    name: split(set, '/')[8]
    fleet: fleet.outputs.principal
  }
}]

module staging 'staging.bicep' = [for target in placed: {
  name: '${prefix}-staging-${target.account}'
  scope: resourceGroup(target.subscription, target.resource_group)
  params: {
    account: target.account
    container: target.container
    location: target.region
    fleet: fleet.outputs.principal
    role: roles.outputs.vhdReader
    tags: tags
  }
  dependsOn: [imageGroup]
}]

module logs 'logs.bicep' = {
  name: '${prefix}-logs'
  scope: fleetGroup
  params: {
    name: '${prefix}-logs'
    location: location
    tags: tags
  }
}

module registry 'registry.bicep' = {
  name: '${prefix}-registry'
  scope: fleetGroup
  params: {
    name: '${prefix}${uniqueString(subscription().id, group)}'
    location: location
    fleet: fleet.outputs.principal
    tags: tags
  }
}

module programs 'programs.bicep' = if (!empty(image)) {
  name: '${prefix}-programs'
  scope: fleetGroup
  params: {
    location: location
    prefix: prefix
    image: image
    registry: registry.outputs.server
    workspace: logs.outputs.id
    subnet: programSubnet
    fleet: { id: fleet.outputs.id, client: fleet.outputs.client }
    scaler: scaler.outputs.id
    sourceAccount: source.outputs.account
    sourceContainer: sourceContainer
    targetsFile: targetsFile
    maxWorkers: maxWorkers
    tags: tags
  }
}

@description('The registry for the image of the programs.')
output registry string = registry.outputs.server

@description('For the ServiceAccount in infra/kubernetes.')
output fleetClient string = fleet.outputs.client

@description('For the TriggerAuthentication in infra/kubernetes.')
output scalerClient string = scaler.outputs.client

@description('Targets that were left out because they belong to another tenant.')
output leftOut array = map(filter(targets, target => !empty(target.?tenant)), target => '${target.subscription}/${target.region}')
