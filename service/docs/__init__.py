"""The docs that ship with the service: Markdown for people, shown at `/docs` and searched by the help box."""
