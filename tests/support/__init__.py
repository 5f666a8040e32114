"""What tests share: servers, callers, clients and sample documents, none of them a test itself."""
