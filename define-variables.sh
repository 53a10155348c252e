#!/bin/bash
# Variables for the nodes that you start from this shell:
#
#   source define-variables.sh
#   cargo run -- --config config.toml --this-node <IP>:<PORT>
#
# As it is, this file sets nothing: Rollcall stores everything in a local directory (data/bucket)
# and needs no account.
#
# To store users and images in Firebase Storage instead, remove the # of the two lines below and put
# in your values. The Firebase console shows the name of the bucket under "Storage"
# (your-project.firebasestorage.app). The file is the key of a service account with the role
# "Storage Object Admin" ("Storage Admin" works too, and allows more than needed). Create the key
# under "Project settings", "Service accounts". Put the file into credentials/, where git ignores
# it. All nodes of a cluster must use the same bucket.

#export FIREBASE_BUCKET="your-project.firebasestorage.app"
#export GOOGLE_APPLICATION_CREDENTIALS="credentials/firebase-storage.json"

# Or store them in S3 or in Azure Blob Storage. docs/storage.md has the rights that the key needs.

#export S3_BUCKET="my-bucket" AWS_REGION="eu-west-1"
#export AWS_ACCESS_KEY_ID="" AWS_SECRET_ACCESS_KEY=""

#export AZURE_CONTAINER="my-container" AZURE_STORAGE_ACCOUNT_NAME="myaccount"
#export AZURE_STORAGE_ACCOUNT_KEY=""

# Or store them in a folder of a Google Shared Drive. The key of the service account is in
# credentials/service-account.json, unless GOOGLE_CREDENTIALS names another file.

#export SHARED_DRIVE_ID="0AExampleDriveIdPVA"
#export REGISTERED_USERS_FOLDER_ID="1Example-FolderIdOfRegisteredUsers"

# The port of the HTTP API. Each further node on the same machine needs another port:
# export API_PORT=3001
#export API_PORT=3000

# The lowest level that is logged: error, warn, info, debug or trace.
#export RUST_LOG=info
