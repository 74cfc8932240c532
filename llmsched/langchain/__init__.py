"""LangChain and LangGraph on LLMSched (extra `langchain`).

    from llmsched.langchain import ChatLLMSched

    model = ChatLLMSched(max_tokens=200)    # the one changed line of a graph

All calls of one run of a graph are stages of one open job. See docs/langchain.md.
"""

from llmsched.langchain.chat import ChatLLMSched
from llmsched.langchain.connection import Connection
from llmsched.langchain.tools import llmsched_tool

__all__ = ["ChatLLMSched", "Connection", "llmsched_tool"]
