# Read by the `flask` command in this folder. Settings and secrets are in .env.
FLASK_APP={{ cookiecutter.package_name }}
