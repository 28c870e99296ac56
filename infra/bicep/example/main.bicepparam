using '../main.bicep'

param sourceAccount = 'goldsource'

// The targets file is the only source of targets. Create targets.json from it with
// 'goldfleet targets list --output json'.
param targets = loadJsonContent('targets.json')
param targetsFile = loadTextContent('targets.toml')
param stores = [
  { region: 'eastus', account: 'goldeastus', container: 'golden' }
]

param operators = [
  { id: '00000000-0000-0000-0000-00000000aaaa', kind: 'Group' }
]

// Empty for the first deployment; then SERVER/goldfleet:VERSION, with the server from its output.
param image = readEnvironmentVariable('GOLDFLEET_IMAGE', '')
