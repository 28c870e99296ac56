using '../main.bicep'

param sourceAccount = 'goldsource'

// The targets file is the one place where targets are said: targets.json is what
// 'goldfleet targets list --output json' makes of it.
param targets = loadJsonContent('targets.json')
param targetsFile = loadTextContent('targets.toml')
param stores = [
  { region: 'eastus', account: 'goldeastus', container: 'golden' }
]

param operators = [
  { id: '00000000-0000-0000-0000-00000000aaaa', kind: 'Group' }
]

// Empty at first; then SERVER/goldfleet:VERSION, with the server that the first deployment names.
param image = readEnvironmentVariable('GOLDFLEET_IMAGE', '')
