// The Log Analytics workspace for the programs' logs.
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
      // Token access only: the workspace key is disabled.
      disableLocalAuth: true
    }
  }
}

output id string = workspace.id
