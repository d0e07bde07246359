"""A client of the service (`facefact serve`), with the standard library alone.

    client = Client("http://127.0.0.1:8188")
    portraits = client.portraits(face=["me.jpg"], prompt="a portrait in a red coat, snow", n=2)
    portraits.save("out")

Every call that makes pictures waits until they are there, under a progress bar; `wait=False` gives the job at once.
What is sent twice because a connection broke is one job: each call has a key of its own. `AsyncClient` has the same
calls as coroutines.
"""

from facefact.client.aio import AsyncClient
from facefact.client.blocking import Cancelled, Client, Job

__all__ = ["AsyncClient", "Cancelled", "Client", "Job"]
