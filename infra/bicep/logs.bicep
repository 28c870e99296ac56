// The Log Analytics workspace that the programs' lines go to.
param name string
param location string
param tags object

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 30
    features: {
      // Readers by token only: there is no key to the workspace.
      disableLocalAuth: true
    }
  }
}

output id string = workspace.id
