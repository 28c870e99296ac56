// A region's store: a [[store]] of the targets file.
param account string
param container string
param location string
param tags object

@description('The fleet\'s identity.')
param fleet string

module made 'storage-account.bicep' = {
  name: '${account}-account'
  params: {
    account: account
    container: container
    location: location
    tags: tags
  }
}

module access 'blob-access.bicep' = {
  name: '${account}-access'
  params: {
    account: made.outputs.account
    container: container
    principal: fleet
    delegate: true
  }
}
