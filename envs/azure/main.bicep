// All that a run needs in an empty resource group: storage, a Batch account, the nodes' identity, a registry.
// docs/azure.md says how to deploy it; the output `exports` is what a shell must know afterwards.
targetScope = 'resourceGroup'

@description('Beginning of every name, lowercase letters and digits; the resource group makes the rest unique.')
@minLength(3)
@maxLength(9)
param name string = 'pretrain'

@description('Region of everything; choose one in which the Batch account gets a quota of cores.')
param location string = resourceGroup().location

@description('Object id of the person or group that runs the workflow; empty: no rights are given.')
param operatorId string = ''

@description('What operatorId is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorType string = 'User'

@description('Redundancy of the blobs; zone-redundant costs about a quarter more.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param redundancy string = 'Standard_LRS'

@description('Accept account keys and what is signed with them; identities need neither.')
param allowAccountKeys bool = false

@description('Days for which a deleted blob or container can be had back; it is paid for meanwhile.')
@minValue(1)
@maxValue(365)
param keepDeletedDays int = 7

@description('Tag of the image pretrain-llama-data that nodes run.')
param imageTag string = '1'

var unique = uniqueString(resourceGroup().id) // 13 characters
var roles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  acrPush: '8311e382-0749-4cb8-b61a-304f252e45ec'
  batchDataContributor: '6aaa78f1-f7de-44ca-8722-c64a23943cae'
  managedIdentityOperator: 'f1a07417-d97a-45cb-824c-7a7467783830'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}${unique}'
  location: location
  sku: { name: redundancy }
  kind: 'StorageV2'
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: allowAccountKeys
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

// No rule of a lifecycle deletes or moves blobs: a shard that cools down or vanishes stops a run.
resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: keepDeletedDays }
    containerDeleteRetentionPolicy: { enabled: true, days: keepDeletedDays }
  }
}

resource vendor 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'vendor'
  properties: { publicAccess: 'None' }
}

resource results 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'results'
  properties: { publicAccess: 'None' }
}

resource storageLock 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: storage
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'Vendor data and results. Remove this lock before you delete the account.'
  }
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-nodes'
  location: location
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: '${name}${unique}'
  location: location
  sku: { name: 'Basic' }
  properties: { adminUserEnabled: false }
}

resource batch 'Microsoft.Batch/batchAccounts@2025-06-01' = {
  name: '${name}${unique}'
  location: location
  properties: {
    poolAllocationMode: 'BatchService'
    allowedAuthenticationModes: ['AAD']
    publicNetworkAccess: 'Enabled'
  }
}

resource nodesUseBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storage
  name: guid(storage.id, identity.id, roles.storageBlobDataContributor)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}

resource nodesPullImages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, identity.id, roles.acrPull)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
  }
}

resource operatorUsesBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorId)) {
  scope: storage
  name: guid(storage.id, operatorId, roles.storageBlobDataContributor)
  properties: {
    principalId: operatorId
    principalType: operatorType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
  }
}

resource operatorPushesImages 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorId)) {
  scope: registry
  name: guid(registry.id, operatorId, roles.acrPush)
  properties: {
    principalId: operatorId
    principalType: operatorType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPush)
  }
}

resource operatorMakesPools 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorId)) {
  scope: batch
  name: guid(batch.id, operatorId, roles.batchDataContributor)
  properties: {
    principalId: operatorId
    principalType: operatorType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.batchDataContributor)
  }
}

// Whoever makes a pool gives its nodes their identity.
resource operatorGivesIdentity 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorId)) {
  scope: identity
  name: guid(identity.id, operatorId, roles.managedIdentityOperator)
  properties: {
    principalId: operatorId
    principalType: operatorType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.managedIdentityOperator)
  }
}

@description('Lines for a shell, one a variable; no secret is among them.')
output exports array = [
  'export AZURE_STORAGE_ACCOUNT_NAME=${storage.name}'
  'export PRETRAIN_LLAMA_STORE=az://${results.name}/pretrain'
  'export PRETRAIN_LLAMA_IMAGE=${registry.properties.loginServer}/pretrain-llama-data:${imageTag}'
  'export SNAKEMAKE_AZURE_BATCH_ACCOUNT_URL=https://${batch.properties.accountEndpoint}'
  'export SNAKEMAKE_AZURE_BATCH_SUBSCRIPTION_ID=${subscription().subscriptionId}'
  'export SNAKEMAKE_AZURE_BATCH_RESOURCE_GROUP_NAME=${resourceGroup().name}'
  'export SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_RESOURCE_ID=${identity.id}'
  'export SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_CLIENT_ID=${identity.properties.clientId}'
  'export SNAKEMAKE_AZURE_BATCH_CONTAINER_REGISTRY_URL=${registry.properties.loginServer}'
  'export AZURE_STORAGE_AUTH_MODE=login'
]

@description('Container of the vendor blobs, where corpora.tsv points to.')
output vendorContainer string = 'az://${vendor.name}'
