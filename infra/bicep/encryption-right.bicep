// Permission to use a disk encryption set in images of the subscription.
param name string

@description('The fleet\'s identity.')
param fleet string

var reader = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'

resource encryptionSet 'Microsoft.Compute/diskEncryptionSets@2025-01-02' existing = {
  name: name
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(encryptionSet.id, fleet, reader)
  scope: encryptionSet
  properties: {
    principalId: fleet
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', reader)
  }
}
