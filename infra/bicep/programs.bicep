// The Container Apps environment with both programs: workers, scaled by the queues, and one dispatcher.
param location string
param prefix string
param image string
param registry string
param workspace string
param subnet string
param sourceAccount string
param sourceContainer string
param targetsFile string
param maxWorkers int
param tags object

@description('The fleet\'s identity: its resource id, and the client id that the programs use.')
param fleet { id: string, client: string }

@description('The resource id of the identity that counts messages.')
param scaler string

// goldfleet's names for Azure's clouds.
var clouds = {
  AzureCloud: 'public'
  AzureUSGovernment: 'us-government'
  AzureChinaCloud: 'china'
}

var configuration = [
  { name: 'GOLDFLEET_COORDINATION__BACKEND', value: 'azure' }
  { name: 'GOLDFLEET_COORDINATION__PREFIX', value: prefix }
  { name: 'GOLDFLEET_CLOUD__BACKEND', value: 'azure' }
  { name: 'GOLDFLEET_CLOUD__ENVIRONMENT', value: clouds[environment().name] }
  { name: 'GOLDFLEET_CLOUD__CREDENTIAL', value: 'managed-identity' }
  { name: 'GOLDFLEET_CLOUD__CLIENT_ID', value: fleet.client }
  { name: 'GOLDFLEET_SOURCE__SUBSCRIPTION', value: subscription().subscriptionId }
  { name: 'GOLDFLEET_SOURCE__REGION', value: location }
  { name: 'GOLDFLEET_SOURCE__ACCOUNT', value: sourceAccount }
  { name: 'GOLDFLEET_SOURCE__CONTAINER', value: sourceContainer }
  { name: 'GOLDFLEET_LOG__FORMAT', value: 'json' }
  { name: 'GOLDFLEET_WORKER__LISTEN', value: '0.0.0.0:8080' }
  { name: 'GOLDFLEET_DISPATCH__LISTEN', value: '0.0.0.0:8080' }
]

resource environmentOfPrograms 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: prefix
  location: location
  tags: tags
  properties: {
    // Diagnostic settings, because the alternative needs the workspace key.
    appLogsConfiguration: { destination: 'azure-monitor' }
    vnetConfiguration: empty(subnet) ? null : { infrastructureSubnetId: subnet, internal: true }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
  }
}

resource toWorkspace 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: environmentOfPrograms
  properties: {
    workspaceId: workspace
    logs: [
      { category: 'ContainerAppConsoleLogs', enabled: true }
      { category: 'ContainerAppSystemLogs', enabled: true }
    ]
  }
}

module worker 'program.bicep' = {
  name: '${prefix}-worker'
  params: {
    name: 'worker'
    location: location
    environmentId: environmentOfPrograms.id
    image: image
    registry: registry
    command: ['/usr/local/bin/goldfleet-worker']
    configuration: configuration
    fleet: fleet.id
    scaler: scaler
    account: sourceAccount
    most: maxWorkers
    cooldown: 300
    // Messages per worker. A worker runs 32 operations (worker.concurrency). The value for seeds is lower because one
    // seed uses many requests.
    queues: [
      { name: '${prefix}-seed', length: 4 }
      { name: '${prefix}-copy', length: 32 }
      { name: '${prefix}-image', length: 32 }
    ]
    tags: tags
  }
}

module dispatcher 'program.bicep' = {
  name: '${prefix}-dispatcher'
  params: {
    name: 'dispatcher'
    location: location
    environmentId: environmentOfPrograms.id
    image: image
    registry: registry
    command: ['/usr/local/bin/goldfleet', 'dispatcher']
    configuration: concat(configuration, [{ name: 'GOLDFLEET_TARGETS__FILE', value: '/etc/goldfleet/targets.toml' }])
    targetsFile: targetsFile
    fleet: fleet.id
    scaler: scaler
    account: sourceAccount
    most: 1
    // The reconciler ends jobs after the last message is gone.
    cooldown: 600
    // All queues count: while a job runs, the reconciler recovers lost messages and leases.
    queues: [
      { name: '${prefix}-dispatch', length: 1 }
      { name: '${prefix}-seed', length: 1 }
      { name: '${prefix}-copy', length: 1 }
      { name: '${prefix}-image', length: 1 }
    ]
    tags: tags
  }
}
