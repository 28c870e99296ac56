// A container app without ingress, scaled from zero by queue length.
param name string
param location string
param environmentId string
param image string
param registry string
param command string[]
param configuration array
param tags object

@description('The targets file, for the program that reads it. Not confidential, but Container Apps mounts files only from secrets.')
param targetsFile string = ''

@description('The resource id of the fleet\'s identity.')
param fleet string

@description('The resource id of the identity that counts messages.')
param scaler string

@description('The account of the queues.')
param account string

@description('Messages per replica, by queue.')
param queues { name: string, length: int }[]

@description('The maximum number of replicas.')
param most int

@description('Seconds from the last message until the last replica stops.')
param cooldown int

var files = empty(targetsFile) ? [] : [{ secret: 'targets-file', path: 'targets.toml', text: targetsFile }]

resource program 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${fleet}': {}
      '${scaler}': {}
    }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registry, identity: fleet }]
      secrets: map(files, file => { name: file.secret, value: file.text })
      identitySettings: [
        { identity: fleet, lifecycle: 'Main' }
        // The program cannot use it.
        { identity: scaler, lifecycle: 'None' }
      ]
    }
    template: {
      // SIGTERM drains: steps continue to their next checkpoint. A lease is 60 s, so 120 s is enough.
      terminationGracePeriodSeconds: 120
      containers: [
        {
          name: name
          image: image
          command: command
          env: configuration
          resources: { cpu: json('0.5'), memory: '1Gi' }
          volumeMounts: empty(files) ? [] : [{ volumeName: 'files', mountPath: '/etc/goldfleet' }]
          probes: [
            {
              type: 'Liveness'
              httpGet: { path: '/health', port: 8080 }
              initialDelaySeconds: 5
              periodSeconds: 15
              failureThreshold: 4
            }
            {
              type: 'Readiness'
              httpGet: { path: '/ready', port: 8080 }
              periodSeconds: 10
              failureThreshold: 3
            }
          ]
        }
      ]
      volumes: empty(files) ? [] : [
        {
          name: 'files'
          storageType: 'Secret'
          secrets: map(files, file => { secretRef: file.secret, path: file.path })
        }
      ]
      scale: {
        minReplicas: 0
        maxReplicas: most
        pollingInterval: 15
        cooldownPeriod: cooldown
        rules: [for queue in queues: {
          name: queue.name
          azureQueue: {
            accountName: account
            queueName: queue.name
            queueLength: queue.length
            identity: scaler
          }
        }]
      }
    }
  }
}
