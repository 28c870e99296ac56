// A custom role for the operators in this resource group.
param operators { id: string, kind: 'User' | 'Group' | 'ServicePrincipal' }[]
param role string

resource right 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for operator in operators: {
  name: guid(resourceGroup().id, operator.id, role)
  properties: {
    principalId: operator.id
    principalType: operator.kind
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]
