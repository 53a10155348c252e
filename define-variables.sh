#!/bin/bash
# Variables for the nodes that you start from this shell:
#
#   source define-variables.sh
#   cargo run -- --config config.toml --this-node <IP>:<PORT>
#
# As it stands, nothing is set, and Rollcall keeps everything in a local directory (data/bucket): no account needed.
#
# To keep users and pictures in Firebase Storage instead, remove the # of the next two lines and put in your values:
# the bucket is named in the Firebase console under "Storage" (your-project.firebasestorage.app); the file is a service
# account's key with the role "Storage Object Admin" ("Storage Admin" works too, and may do more than is needed), made under
# "Project settings", "Service accounts". Keep the file in credentials/, where git ignores it. Nodes of one cluster must all
# use the same bucket.

#export FIREBASE_BUCKET="your-project.firebasestorage.app"
#export GOOGLE_APPLICATION_CREDENTIALS="credentials/firebase-storage.json"

# The port of the HTTP API; each further node on the same machine needs another: export API_PORT=3001
#export API_PORT=3000

# What is logged: error, warn, info, debug or trace.
#export RUST_LOG=info
