// A custom role for the fleet in this resource group.
param fleet string
param role string

resource right 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, fleet, role)
  properties: {
    principalId: fleet
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}
